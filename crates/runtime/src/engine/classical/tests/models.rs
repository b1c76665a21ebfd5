//! Models other than trees, and what is done to rows before them. Answers are those of onnxruntime 1.32.

use super::sample::{Sample, Set, floats, ints, near, table};
use crate::tensor::{Data, Tensor};

const ROWS: [&[f32]; 2] = [&[1.0, -2.0], &[0.5, 3.0]];

fn refused(sample: &Sample, reason: &str) {
    let error = sample.rows(&ROWS).err();
    let error = error.unwrap_or_else(|| panic!("it is taken, not refused for: {reason}"));
    assert!(error.contains(reason), "{error}, not {reason}");
}

fn set(values: &[f32]) -> Set {
    Set::Floats(values.to_vec())
}

fn column(data: Data) -> Tensor {
    Tensor::new(vec![data.len()], data).unwrap()
}

#[test]
fn columns_are_scaled_by_their_own_numbers_or_by_one() {
    let scaler = |offset: &[f32], scale: &[f32]| {
        Sample::ml("Scaler", 1).with("offset", set(offset)).with("scale", set(scale))
    };
    let sample = scaler(&[0.5, 1.0], &[2.0, 0.25]);
    near(&sample.rows(&ROWS).unwrap()[0], &[1.0, -0.75, 0.0, 0.5]);
    let doubles = Tensor::new(vec![1, 2], Data::F64(vec![1.0, -2.0])).unwrap();
    near(&sample.run(&[&doubles]).unwrap()[0], &[1.0, -0.75]);
    near(&scaler(&[1.0], &[2.0]).rows(&ROWS).unwrap()[0], &[0.0, -6.0, -1.0, 4.0]);
    refused(&scaler(&[1.0], &[]), "it has 0 scale for 2 columns");
    refused(&scaler(&[1.0; 3], &[1.0]), "it has 3 offset for 2 columns");
}

#[test]
fn rows_are_divided_by_their_norm() {
    let rows: [&[f32]; 3] = [&[1.0, -2.0], &[0.0, 0.0], &[-3.0, -4.0]];
    for (norm, wanted) in [
        ("MAX", [1.0, -2.0, 0.0, 0.0, 1.0, 1.333_333_4]),
        ("L1", [0.333_333_3, -0.666_666_7, 0.0, 0.0, -0.428_571_4, -0.571_428_6]),
        ("L2", [0.447_213_6, -0.894_427_2, 0.0, 0.0, -0.6, -0.8]),
    ] {
        let sample = Sample::ml("Normalizer", 1).with("norm", Set::Text(norm));
        near(&sample.rows(&rows).unwrap()[0], &wanted);
    }
    refused(&Sample::ml("Normalizer", 1).with("norm", Set::Text("L3")), "norm \"L3\"");
    // Squares that 32 bits do not hold, on either side.
    let far: [&[f32]; 2] = [&[5e20, 1.2e21], &[3e-30, 4e-30]];
    let sample = Sample::ml("Normalizer", 1).with("norm", Set::Text("L2"));
    near(&sample.rows(&far).unwrap()[0], &[0.384_615_4, 0.923_076_9, 0.6, 0.8]);
}

#[test]
fn what_is_above_the_threshold_is_one() {
    let outputs = Sample::ml("Binarizer", 1).rows(&ROWS).unwrap();
    assert_eq!(floats(&outputs[0]), [1.0, 0.0, 1.0, 1.0]);
}

#[test]
fn what_is_missing_is_replaced_by_the_value_of_its_column() {
    let sample = |missing: f32, values: &[f32]| {
        Sample::ml("Imputer", 1)
            .with("replaced_value_float", Set::Float(missing))
            .with("imputed_value_floats", set(values))
    };
    let rows: [&[f32]; 2] = [&[f32::NAN, 1.0], &[0.0, f32::NAN]];
    let outputs = sample(f32::NAN, &[7.0, 8.0]).rows(&rows).unwrap();
    assert_eq!(floats(&outputs[0]), [7.0, 1.0, 0.0, 8.0]);
    let outputs = sample(0.0, &[7.0]).rows(&[&[0.0, 1.0]]).unwrap();
    assert_eq!(floats(&outputs[0]), [7.0, 1.0]);
    let whole = Tensor::new(vec![1, 2], Data::I64(vec![-1, 5])).unwrap();
    let ints = Sample::ml("Imputer", 1)
        .with("replaced_value_int64", Set::Int(-1))
        .with("imputed_value_int64s", Set::Ints(vec![9]));
    assert_eq!(*ints.run(&[&whole]).unwrap()[0].data(), Data::I64(vec![9, 5]));
    refused(&sample(0.0, &[1.0; 3]), "it has 3 values for 2 columns");
    refused(&ints, "it has 0 values for 2 columns");
}

#[test]
fn rows_of_several_inputs_are_joined() {
    let joined = Sample::ml("FeatureVectorizer", 1).input();
    let sample = joined.with("inputdimensions", Set::Ints(vec![2, 1]));
    let other = Tensor::new(vec![2, 1], Data::F32(vec![7.0, 8.0])).unwrap();
    let outputs = sample.run(&[&table(&ROWS), &other]).unwrap();
    assert_eq!(floats(&outputs[0]), [1.0, -2.0, 7.0, 0.5, 3.0, 8.0]);
    let error = sample.run(&[&other, &table(&ROWS)]).unwrap_err();
    assert!(error.contains("have [1, 2] columns, not [2, 1]"), "{error}");
}

#[test]
fn a_linear_model_gives_the_label_of_the_largest_score() {
    let linear = |coefficients: &[f32], intercepts: &[f32], labels: &[i64], transform| {
        Sample::ml("LinearClassifier", 2)
            .with("coefficients", set(coefficients))
            .with("intercepts", set(intercepts))
            .with("classlabels_ints", Set::Ints(labels.to_vec()))
            .with("post_transform", Set::Text(transform))
    };
    for (transform, scores) in [
        ("NONE", [1.1, -0.1, 0.1, 0.9]),
        ("LOGISTIC", [0.524_979_2, 0.475_020_8, 0.289_050_5, 0.710_949_5]),
        ("SOFTMAX", [1.1, -0.1, 0.1, 0.9]),
    ] {
        let sample = linear(&[0.5, 0.25], &[-0.1], &[10, 20], transform);
        let outputs = sample.rows(&ROWS).unwrap();
        assert_eq!(ints(&outputs[0]), [10, 20]);
        near(&outputs[1], &scores);
    }
    let three = [0.5, 0.25, -0.3, 0.1, 0.2, -0.7];
    for (transform, scores) in [
        ("NONE", [-0.1, -0.3, 1.9, 0.9, 0.35, -1.7]),
        (
            "LOGISTIC",
            [0.475_020_8, 0.425_557_5, 0.869_891_5, 0.710_949_5, 0.586_617_6, 0.154_465_3],
        ),
        ("SOFTMAX", [0.108_603_7, 0.088_917_2, 0.802_479, 0.605_611_6, 0.349_407_5, 0.044_980_9]),
    ] {
        let sample = linear(&three, &[-0.1, 0.2, 0.3], &[10, 20, 30], transform);
        let outputs = sample.rows(&ROWS).unwrap();
        assert_eq!(ints(&outputs[0]), [30, 10]);
        near(&outputs[1], &scores);
    }
    refused(&linear(&three, &[], &[1, 2], "NONE"), "it has 3 scores for 2 classes");
    refused(&linear(&[0.5], &[], &[1, 2], "NONE"), "it has 1 coefficients for 2 columns");
    refused(&linear(&three, &[0.0], &[1, 2, 3], "NONE"), "it has 1 intercepts for 3 scores");
    refused(&linear(&[0.5, 0.25], &[], &[1, 2], "PROBIT"), "PROBIT has no meaning");
}

#[test]
fn a_linear_model_gives_every_target() {
    let linear = |coefficients: &[f32], targets| {
        Sample::ml("LinearRegressor", 1)
            .with("coefficients", set(coefficients))
            .with("targets", Set::Int(targets))
    };
    let sample = linear(&[0.5, 0.25], 1).with("intercepts", set(&[-0.1]));
    near(&sample.rows(&ROWS).unwrap()[0], &[-0.1, 0.9]);
    refused(&sample.with("post_transform", Set::Text("LOGISTIC")), "of a single score");
    let two = linear(&[0.5, 0.25, -0.3, 0.1], 2).with("post_transform", Set::Text("SOFTMAX"));
    let wanted = [0.622_459_4, 0.377_540_7, 0.700_567_2, 0.299_432_9];
    near(&two.rows(&ROWS).unwrap()[0], &wanted);
    for targets in [0, -1, 3, i64::MAX] {
        assert!(linear(&[0.5, 0.25], targets).rows(&ROWS).is_err(), "{targets}");
    }
}

#[test]
fn labels_are_encoded_by_their_keys_and_what_is_unknown_by_the_default() {
    let texts =
        |texts: &[&str]| Data::Bytes(texts.iter().map(|it| it.as_bytes().to_vec()).collect());
    let encoder = || Sample::ml("LabelEncoder", 1);
    let encoded = |sample: &Sample, data| {
        let output = sample.run(&[&column(data)]).map(|mut outputs| outputs.remove(0));
        output.map(|output| output.data().clone())
    };
    let sample = encoder()
        .with("keys_strings", Set::Texts(vec!["a", "b", "a"]))
        .with("values_int64s", Set::Ints(vec![10, 20, 30]))
        .with("default_int64", Set::Int(-5));
    assert_eq!(encoded(&sample, texts(&["b", "a", "z"])), Ok(Data::I64(vec![20, 10, -5])));
    let first = encoder().with("classes_strings", Set::Texts(vec!["b", "a"]));
    assert_eq!(encoded(&first, texts(&["a", "z"])), Ok(Data::I64(vec![1, -1])));
    assert_eq!(encoded(&first, Data::I64(vec![0, 5])), Ok(texts(&["b", "_Unused"])));
    let floats = encoder()
        .with("keys_floats", set(&[1.5, 0.0]))
        .with("values_strings", Set::Texts(vec!["u", "v"]));
    let given = Data::F32(vec![-0.0, 1.5, f32::NAN]);
    assert_eq!(encoded(&floats, given), Ok(texts(&["v", "u", "_Unused"])));
    let tensors = encoder()
        .with("keys_tensor", Set::Tensor(Data::F64(vec![1.5, 2.5])))
        .with("values_tensor", Set::Tensor(Data::I16(vec![4, 5])))
        .with("default_tensor", Set::Tensor(Data::I16(vec![-9])));
    assert_eq!(encoded(&tensors, Data::F64(vec![2.5, 2.0])), Ok(Data::I16(vec![5, -9])));

    for (sample, given, reason) in [
        (sample.with("values_int64s", Set::Ints(vec![1])), texts(&["a"]), "3 keys and 1 values"),
        (encoder().with("keys_int64s", Set::Ints(vec![1])), texts(&["a"]), "values are missing"),
        (
            floats.with("keys_floats", set(&[f32::NAN, 0.0])),
            Data::F32(vec![1.0]),
            "one of its keys is no number",
        ),
        (first, Data::F32(vec![1.0]), "its keys are i64, its input f32"),
        (
            tensors.without("default_tensor"),
            Data::F64(vec![1.0]),
            "its default_tensor of i16 is missing",
        ),
    ] {
        let error = encoded(&sample, given).unwrap_err();
        assert!(error.contains(reason), "{error}, not {reason}");
    }
}

#[test]
fn a_category_has_a_column_of_its_own() {
    let encoder = |zeros| {
        Sample::ml("OneHotEncoder", 1)
            .with("cats_int64s", Set::Ints(vec![1, 2, 3]))
            .with("zeros", Set::Int(zeros))
    };
    let given = Tensor::new(vec![2, 1], Data::F32(vec![3.9, 9.0])).unwrap();
    let outputs = encoder(1).run(&[&given]).unwrap();
    assert_eq!(outputs[0].shape(), [2, 1, 3]);
    assert_eq!(floats(&outputs[0]), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    let error = encoder(0).run(&[&given]).unwrap_err();
    assert!(error.contains("a value is in none of its categories"), "{error}");
    let texts = Sample::ml("OneHotEncoder", 1).with("cats_strings", Set::Texts(vec!["a", "b"]));
    let given = column(Data::Bytes(vec![b"b".to_vec(), b"z".to_vec()]));
    assert_eq!(floats(&texts.run(&[&given]).unwrap()[0]), [0.0, 1.0, 0.0, 0.0]);
    refused(&texts, "not of the kind of its input, f32");
}

#[test]
fn columns_are_taken_by_their_numbers() {
    let sample = |columns: &[i64]| {
        Sample::ml("ArrayFeatureExtractor", 1).constant(Data::I64(columns.to_vec()))
    };
    let outputs = sample(&[1, 0, 1]).rows(&ROWS).unwrap();
    assert_eq!(outputs[0].shape(), [2, 3]);
    assert_eq!(floats(&outputs[0]), [-2.0, 1.0, -2.0, 3.0, 0.5, 3.0]);
    let row = column(Data::F32(vec![5.0, 6.0]));
    assert_eq!(sample(&[1]).run(&[&row]).unwrap()[0].shape(), [1, 1]);
    for wrong in [2, -1, i64::MIN] {
        refused(&sample(&[wrong]), "it asks for a column that is not there");
    }
}

#[test]
fn scores_by_label_stay_as_they_are_in_the_order_of_the_labels() {
    let labels = |labels: &[i64]| {
        Sample::ml("ZipMap", 1).with("classlabels_int64s", Set::Ints(labels.to_vec()))
    };
    assert_eq!(labels(&[5, 7]).rows(&ROWS).unwrap()[0], table(&ROWS));
    refused(&labels(&[5, 7, 9]), "it has 3 labels for 2 scores");
}

fn machine(classes: usize, kernel: &'static str) -> Sample {
    let (vectors, per_class, coefficients, rho): (&[f32], &[i64], &[f32], &[f32]) = match classes {
        2 => (&[1.0, 0.0, 0.0, 1.0, -1.0, -1.0], &[1, 2], &[1.5, -0.5, -1.0], &[0.25]),
        _ => (
            &[1.0, 0.0, 0.0, 1.0, -1.0, -1.0, 2.0, 1.0],
            &[1, 2, 1],
            &[1.5, -0.5, -1.0, -0.75, 0.5, 0.25, 0.8, -0.6],
            &[0.25, -0.1, 0.05],
        ),
    };
    Sample::ml("SVMClassifier", 2)
        .with("kernel_type", Set::Text(kernel))
        .with("kernel_params", set(&[0.5, 0.1, 2.0]))
        .with("support_vectors", set(vectors))
        .with("vectors_per_class", Set::Ints(per_class.to_vec()))
        .with("coefficients", set(coefficients))
        .with("rho", set(rho))
        .with("classlabels_ints", Set::Ints([10, 20, 30][..classes].to_vec()))
}

#[test]
fn a_support_vector_machine_gives_the_class_that_wins_most_pairs() {
    for (kernel, labels, scores) in [
        ("LINEAR", [10, 10], [-1.75, 1.75, -3.0, 3.0]),
        ("POLY", [10, 20], [-0.025, 0.025, 3.568_75, -3.568_75]),
        ("RBF", [10, 10], [-0.367_549, 0.367_549, -0.204_880_1, 0.204_880_1]),
        ("SIGMOID", [10, 10], [-0.876_673_8, 0.876_673_8, -1.222_586_6, 1.222_586_6]),
    ] {
        let outputs = machine(2, kernel).rows(&ROWS).unwrap();
        assert_eq!(ints(&outputs[0]), labels, "{kernel}");
        near(&outputs[1], &scores);
    }
    for (kernel, labels, scores) in [
        ("LINEAR", [10, 30], [1.75, 0.4, 0.35, 3.0, -2.85, -4.4]),
        (
            "RBF",
            [10, 10],
            [0.367_549, -0.037_385_8, 0.113_309_7, 0.204_880_1, -0.128_050_9, 0.053_583_2],
        ),
    ] {
        let outputs = machine(3, kernel).rows(&ROWS).unwrap();
        assert_eq!(ints(&outputs[0]), labels, "{kernel}");
        near(&outputs[1], &scores);
    }
}

#[test]
fn a_support_vector_machine_gives_probabilities_where_it_was_trained_for_them() {
    let two = machine(2, "RBF").with("prob_a", set(&[-1.5])).with("prob_b", set(&[0.2]));
    let outputs = two.rows(&ROWS).unwrap();
    assert_eq!(ints(&outputs[0]), [10, 10]);
    near(&outputs[1], &[0.586_585_2, 0.413_414_8, 0.526_800_5, 0.473_199_5]);
    let three = machine(3, "RBF")
        .with("prob_a", set(&[-1.5, -2.0, -1.0]))
        .with("prob_b", set(&[0.2, 0.1, -0.3]));
    let wanted = [0.356_221_3, 0.334_455_3, 0.309_323_6, 0.309_360_1, 0.362_633_3, 0.328_006_7];
    near(&three.rows(&ROWS).unwrap()[1], &wanted);
    refused(&three.with("prob_b", set(&[0.2])), "it has 1 prob_b for 3 classes");
}

#[test]
fn a_support_vector_machine_gives_a_number_or_a_side() {
    let machine = |kernel| {
        Sample::ml("SVMRegressor", 1)
            .with("kernel_type", Set::Text(kernel))
            .with("kernel_params", set(&[0.5, 0.1, 3.0]))
            .with("support_vectors", set(&[1.0, 0.0, 0.0, 1.0]))
            .with("coefficients", set(&[1.5, -0.5]))
            .with("rho", set(&[0.25]))
            .with("n_supports", Set::Int(2))
    };
    for (kernel, wanted) in [
        ("LINEAR", [2.75, -0.5]),
        ("POLY", [0.9385, -1.733_687_6]),
        ("RBF", [0.449_634, 0.204_989]),
        ("SIGMOID", [1.413_723_3, 0.293_729_1]),
    ] {
        near(&machine(kernel).rows(&ROWS).unwrap()[0], &wanted);
    }
    let side = machine("LINEAR").with("one_class", Set::Int(1)).with("rho", set(&[-1.25]));
    near(&side.rows(&ROWS).unwrap()[0], &[1.0, -1.0]);
    for count in [0, -1, i64::MIN] {
        refused(
            &machine("RBF").with("n_supports", Set::Int(count)),
            "export it as LinearRegressor",
        );
    }
    refused(&machine("RBF").with("n_supports", Set::Int(i64::MAX)), "have 4 numbers");
    refused(&machine("RBF").with("kernel_params", set(&[0.5])), "kernel_params are not three");
    refused(&machine("RBF").with("rho", set(&[])), "rho is not one number");
    refused(&machine("RBF").with("coefficients", set(&[1.0])), "1 coefficients for 2 vectors");
}

#[test]
fn a_machine_whose_numbers_do_not_belong_together_is_refused() {
    let ints = |values: &[i64]| Set::Ints(values.to_vec());
    for (attribute, values, reason) in [
        ("vectors_per_class", ints(&[]), "export it as LinearClassifier"),
        ("vectors_per_class", ints(&[3]), "it has 1 vectors_per_class, 2 classes"),
        ("vectors_per_class", ints(&[-1, 4]), "are no numbers of vectors"),
        ("vectors_per_class", ints(&[i64::MAX, i64::MAX]), "vectors"),
        ("vectors_per_class", ints(&[2, 2]), "4 support vectors of 2 columns have 6 numbers"),
        ("support_vectors", set(&[1.0]), "have 1 numbers"),
        ("coefficients", set(&[1.0]), "it has 1 coefficients for 2 classes"),
        ("rho", set(&[1.0, 2.0]), "it has 2 rho for 2 classes"),
        ("classlabels_ints", ints(&[1]), "it has a single class"),
        ("post_transform", Set::Text("LOGISTIC"), "has no meaning for a single score"),
    ] {
        refused(&machine(2, "RBF").with(attribute, values), reason);
    }
}
