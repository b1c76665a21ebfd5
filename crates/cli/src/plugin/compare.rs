//! What a plugin answered, against what it should have.

use super::frames::{Outputs, Wanted, tensor, written};
use lineside_runtime::{Data, PluginError, Port, Tensor};

/// What a call gave.
pub type Answer = Result<Vec<Vec<Tensor>>, PluginError>;

/// How far an answer is off, at most: nought where there are no numbers.
///
/// # Errors
/// What is not as it should be, in words.
pub fn compare(
    answer: &Answer,
    wanted: &Wanted,
    ports: &[Port],
    tolerance: f64,
) -> Result<f64, String> {
    match (answer, wanted) {
        (Ok(_) | Err(PluginError::Refused(_)), Wanted::Anything) => Ok(0.0),
        (Err(PluginError::Refused(said)), Wanted::Refusal(words)) if said.contains(words) => {
            Ok(0.0)
        }
        (Err(PluginError::Refused(said)), Wanted::Refusal(words)) => {
            Err(format!("the plugin refuses it: {said:?}, was to say {words:?}"))
        }
        (Ok(results), Wanted::Refusal(words)) => {
            Err(format!("{} results, was to be refused: {words:?}", results.len()))
        }
        (Err(error), _) => Err(error.to_string()),
        (Ok(results), Wanted::Results(wanted)) => alike(results, wanted, ports, tolerance),
    }
}

fn alike(
    results: &[Vec<Tensor>],
    wanted: &[Outputs],
    ports: &[Port],
    tolerance: f64,
) -> Result<f64, String> {
    if results.len() != wanted.len() {
        return Err(format!("{} results, {} were expected", results.len(), wanted.len()));
    }
    let mut worst = 0.0f64;
    for (number, (result, wanted)) in results.iter().zip(wanted).enumerate() {
        let of = if results.len() > 1 { format!("result {}: ", number + 1) } else { String::new() };
        if wanted.is_empty() && !ports.is_empty() {
            return Err(format!("{of}`expected` names no output of it: nothing would be compared"));
        }
        for (name, value) in wanted {
            let place = ports.iter().position(|port| port.name() == name);
            let Some((port, tensor_is)) = place.and_then(|it| ports.get(it).zip(result.get(it)))
            else {
                return Err(format!("{of}the plugin has no output {name}"));
            };
            let was = tensor(port, value).map_err(|error| {
                format!("{of}expected {name} is not {}: {error:#}", port.form())
            })?;
            let off = off(tensor_is, &was, tolerance);
            worst = worst.max(off.map_err(|(place, is, was)| {
                let at = if port.len() > 1 { format!("[{place}]") } else { String::new() };
                format!("{of}{name}{at} is {is}, {was} was expected")
            })?);
        }
    }
    Ok(worst)
}

/// How far the elements are off at most, or the first that is too far: its place, and the two.
fn off(is: &Tensor, was: &Tensor, tolerance: f64) -> Result<f64, (usize, String, String)> {
    let mut worst = 0.0f64;
    match (is.data(), was.data()) {
        (Data::F32(is), Data::F32(was)) => {
            for (place, (is, was)) in is.iter().zip(was).enumerate() {
                let distance = (f64::from(*is) - f64::from(*was)).abs();
                if distance > tolerance + tolerance * f64::from(was.abs()) {
                    return Err((place, is.to_string(), was.to_string()));
                }
                worst = worst.max(distance);
            }
        }
        // Whole numbers and yes or no are right or wrong.
        (Data::I64(is), Data::I64(was)) => exact(is, was)?,
        (Data::Bool(is), Data::Bool(was)) => exact(is, was)?,
        _ => return Err((0, is.element().to_string(), was.element().to_string())),
    }
    Ok(worst)
}

fn exact<T: PartialEq + ToString>(is: &[T], was: &[T]) -> Result<(), (usize, String, String)> {
    match is.iter().zip(was).enumerate().find(|(_, (is, was))| is != was) {
        Some((place, (is, was))) => Err((place, is.to_string(), was.to_string())),
        None => Ok(()),
    }
}

/// An answer as the one to be expected from now on.
pub fn expected(answer: &Answer, ports: &[Port]) -> Option<Wanted> {
    match answer {
        Ok(results) => {
            let result = |tensors: &Vec<Tensor>| {
                let named = ports.iter().zip(tensors);
                named.map(|(port, tensor)| (port.name().to_owned(), written(tensor))).collect()
            };
            Some(Wanted::Results(results.iter().map(result).collect()))
        }
        Err(PluginError::Refused(words)) => Some(Wanted::Refusal(words.clone())),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_runtime::Element;
    use serde_json::json;

    fn ports() -> Vec<Port> {
        let port = |name: &str, element, size| Port::new(name.into(), element, vec![size]).unwrap();
        vec![port("y", Element::F32, 2), port("n", Element::I64, 1), port("on", Element::Bool, 1)]
    }

    fn answer(y: [f32; 2], n: i64, on: bool) -> Vec<Tensor> {
        vec![
            Tensor::new(vec![2], Data::F32(y.to_vec())).unwrap(),
            Tensor::new(vec![1], Data::I64(vec![n])).unwrap(),
            Tensor::new(vec![1], Data::Bool(vec![on])).unwrap(),
        ]
    }

    fn compared(wanted: serde_json::Value) -> String {
        let answer = Ok(vec![answer([1.0, 100.5], 7, true)]);
        let wanted = Wanted::Results(serde_json::from_value(wanted).unwrap());
        match compare(&answer, &wanted, &ports(), 0.01) {
            Ok(worst) => format!("{worst}"),
            Err(said) => said,
        }
    }

    #[test]
    fn an_answer_is_held_against_each_output_that_is_named() {
        assert_eq!(compared(json!([{ "y": [1, 100.5], "n": 7, "on": [true] }])), "0");
        assert_eq!(compared(json!([{ "y": [1.0, 100.0] }])), "0.5");
        assert_eq!(
            compared(json!([{}])),
            "`expected` names no output of it: nothing would be compared"
        );
        assert_eq!(compared(json!([{ "y": [1.5, 100.5] }])), "y[0] is 1, 1.5 was expected");
        assert_eq!(compared(json!([{ "n": 8 }])), "n is 7, 8 was expected");
        assert_eq!(compared(json!([{ "on": false }])), "on is true, false was expected");
        assert_eq!(compared(json!([])), "1 results, 0 were expected");
        assert_eq!(compared(json!([{ "z": 1 }])), "the plugin has no output z");
        assert_eq!(
            compared(json!([{ "y": [1] }])),
            "expected y is not f32 [2]: 1 elements are given"
        );
    }

    #[test]
    fn a_refusal_is_an_answer_and_a_trap_never_is() {
        let said = |error: PluginError, wanted: Wanted| {
            compare(&Err(error), &wanted, &ports(), 0.0).map_or_else(|said| said, |_| "fine".into())
        };
        let refused = || PluginError::Refused("x is empty".into());
        let trapped = || PluginError::Trap("unreachable".into());
        assert_eq!(said(refused(), Wanted::Refusal("empty".into())), "fine");
        assert_eq!(said(refused(), Wanted::Anything), "fine");
        assert_eq!(
            said(refused(), Wanted::Refusal("full".into())),
            "the plugin refuses it: \"x is empty\", was to say \"full\""
        );
        assert_eq!(said(refused(), Wanted::Results(vec![])), "the plugin refuses: x is empty");
        assert_eq!(said(trapped(), Wanted::Anything), "the plugin trapped: unreachable");
        assert_eq!(
            said(trapped(), Wanted::Refusal(String::new())),
            "the plugin trapped: unreachable"
        );
        assert_eq!(expected(&Err(trapped()), &ports()), None);
    }

    #[test]
    fn what_is_recorded_is_what_is_then_expected() {
        let answer = Ok(vec![answer([0.1, -2.5], 7, true), answer([0.2, 3e-9], -1, false)]);
        let recorded = expected(&answer, &ports()).unwrap();
        assert_eq!(compare(&answer, &recorded, &ports(), 0.0), Ok(0.0));
    }
}
