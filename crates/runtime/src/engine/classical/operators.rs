//! The operators that this engine has.

use super::super::operator::{ML_DOMAIN, Operator};
use super::node::{Made, Node};
use super::{category, forest, linear, plain, rows, svm};

/// Makes an operation of a node.
pub(super) type Make = fn(&Node<'_>) -> Result<Made, String>;

/// Domain, name, and how it is made. What is not listed is refused.
const TABLE: &[(&str, &str, Make)] = &[
    (ML_DOMAIN, "ArrayFeatureExtractor", category::array_feature_extractor),
    (ML_DOMAIN, "Binarizer", rows::binarizer),
    (ML_DOMAIN, "FeatureVectorizer", rows::feature_vectorizer),
    (ML_DOMAIN, "Imputer", rows::imputer),
    (ML_DOMAIN, "LabelEncoder", category::label_encoder),
    (ML_DOMAIN, "LinearClassifier", linear::classifier),
    (ML_DOMAIN, "LinearRegressor", linear::regressor),
    (ML_DOMAIN, "Normalizer", rows::normalizer),
    (ML_DOMAIN, "OneHotEncoder", category::one_hot_encoder),
    (ML_DOMAIN, "SVMClassifier", svm::classifier),
    (ML_DOMAIN, "SVMRegressor", svm::regressor),
    (ML_DOMAIN, "Scaler", rows::scaler),
    (ML_DOMAIN, "TreeEnsembleClassifier", forest::classifier),
    (ML_DOMAIN, "TreeEnsembleRegressor", forest::regressor),
    (ML_DOMAIN, "ZipMap", category::zip_map),
    ("", "Add", plain::arithmetic::add),
    ("", "ArgMax", plain::arg_max),
    ("", "Cast", plain::cast::cast),
    ("", "Concat", plain::join::concat),
    ("", "Constant", plain::shape::constant),
    ("", "Div", plain::arithmetic::div),
    ("", "Flatten", plain::shape::flatten),
    ("", "Identity", plain::shape::identity),
    ("", "Mul", plain::arithmetic::mul),
    ("", "Reshape", plain::shape::reshape),
    ("", "Squeeze", plain::shape::squeeze),
    ("", "Sub", plain::arithmetic::sub),
    ("", "Unsqueeze", plain::shape::unsqueeze),
];

/// How `operator` is made, if there is such a one.
pub(super) fn find(operator: &Operator) -> Option<Make> {
    let found = TABLE
        .iter()
        .find(|(domain, name, _)| (*domain, *name) == (operator.domain(), operator.name()));
    found.map(|(_, _, make)| *make)
}
