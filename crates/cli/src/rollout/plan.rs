//! A plan as people write it, in TOML, for the server.

use crate::window;
use anyhow::{Context, anyhow};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Reads a plan; `by` plans it.
///
/// # Errors
/// What is wrong with the file, and where. What is wrong with the plan is for the server to say.
pub fn read(path: &Path, by: &str) -> anyhow::Result<Value> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let plan = parse(&text, by);
    plan.with_context(|| format!("{shown} is no plan of a rollout"))
}

fn parse(text: &str, by: &str) -> anyhow::Result<Value> {
    let table: toml::Table = toml::from_str(text)?;
    let mut plan = serde_json::to_value(table)?;
    let windows = plan.get_mut("windows").and_then(Value::as_array_mut);
    for window in windows.into_iter().flatten() {
        let said = window.as_str();
        let said =
            said.ok_or_else(|| anyhow!("windows are texts, as in \"Mon 22:00 - Tue 05:00\""))?;
        *window = window::read(said)?;
    }
    if !by.is_empty() {
        plan["by"] = json!(by);
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_with_its_windows() {
        let plan =
            parse("release = 'turbine/2'\nwindows = ['Mon 22:00 - Tue 05:00']", "anna").unwrap();
        assert_eq!((&plan["windows"][0]["from"], &plan["by"]), (&json!(1320), &json!("anna")));
        for (wrong, words) in [
            ("windows = ['Mon 22:00']", "is no window"),
            ("windows = [3]", "windows are texts"),
            ("windows = [", "TOML"),
        ] {
            let said = format!("{:#}", parse(wrong, "").unwrap_err());
            assert!(said.contains(words), "{wrong}: {said}");
        }
    }
}
