//! Whether a description holds together: every reference resolves, nothing goes in circles.

use crate::description::{BundleFile, FORMAT, FailSafe, OnTrap, Port, Stage, TensorRef};
use crate::stages::{BuiltIn, Each};
use lineside_rules::{EVERY_OUTPUT, Range};
use std::collections::{BTreeMap, BTreeSet};

/// Stages, fields, outputs and checks that a bundle may have, each.
const PARTS_MAX: usize = 256;
/// Largest answer of a plugin that a bundle may allow, in MiB.
const OUTPUT_MIB_MAX: u32 = 1024;
/// Most lines that a plugin may be allowed to say, in a call or a second: they cross to the supervisor
/// with the frame.
const LINES_MAX: u32 = 1000;
/// Most readings that a fresh worker may want to see before it answers: a day of a hundred a second, and twice that.
const WARM_UP_MAX: u64 = 1 << 24;
/// Longest name of an engine in bytes.
const ENGINE_BYTES_MAX: usize = 63;

/// What is wrong with a bundle's description, by the names its author gave.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DescriptionError {
    /// Not TOML, or something of no table: an unknown key, or a value of the wrong type; with the line.
    #[error("{0}")]
    Syntax(String),
    /// A format of the future.
    #[error("format {0} is not known here, only {FORMAT} is")]
    Format(u32),
    /// Something about a port.
    #[error("port {port}: {problem}")]
    Port {
        /// The port.
        port: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Something about a stage.
    #[error("stage {stage}: {problem}")]
    Stage {
        /// The stage.
        stage: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Something that names an output.
    #[error("{place}: {problem}")]
    Place {
        /// Where in the description.
        place: String,
        /// What is wrong there.
        problem: String,
    },
}

impl BundleFile {
    /// Checks what can be checked without the files: names, references, ranges and circles.
    ///
    /// # Errors
    /// The first thing found, by stage, port or key.
    pub fn check(&self) -> Result<(), DescriptionError> {
        if self.format != FORMAT {
            return Err(DescriptionError::Format(self.format));
        }
        for (what, count) in [
            ("stages", self.stages.len()),
            ("outputs", self.outputs.len()),
            ("checks", self.checks.len()),
            ("inputs", self.inputs.len()),
        ] {
            if count > PARTS_MAX {
                return place(what, format!("{count} are more than the {PARTS_MAX} allowed"));
            }
        }
        for (name, port) in &self.inputs {
            self.check_port(name, port)?;
        }
        for (name, stage) in &self.stages {
            self.check_stage(name, stage)
                .map_err(|problem| DescriptionError::Stage { stage: name.clone(), problem })?;
        }
        self.check_cut()?;
        self.order()?;
        self.check_outputs()?;
        self.check_limits()
    }

    /// As [`BundleFile::check`], and what is asked of a description that is written now: devices go on with those
    /// that they have.
    pub(crate) fn check_written(&self) -> Result<(), DescriptionError> {
        self.check()?;
        if self.warm_up_readings > WARM_UP_MAX {
            let readings = self.warm_up_readings;
            let problem =
                format!("{readings} must be at most {WARM_UP_MAX}: until then nothing is answered");
            return place("warm_up_readings", problem);
        }
        Ok(())
    }

    /// The stages in an order in which each comes after those it reads from, what is built in as early and
    /// plugins as late as can be.
    ///
    /// # Errors
    /// [`DescriptionError::Stage`] for one that waits for itself.
    pub fn order(&self) -> Result<Vec<&str>, DescriptionError> {
        let mut order: Vec<&str> = Vec::new();
        let mut done: BTreeSet<&str> = BTreeSet::new();
        while order.len() < self.stages.len() {
            let ready = |(name, stage): &(&String, &Stage)| {
                !done.contains(name.as_str())
                    && stage.tensors().iter().all(|(_, t)| done.contains(t.stage.as_str()))
            };
            let ready: Vec<_> = self.stages.iter().filter(ready).collect();
            // A plugin makes several parts of a frame, or none: what does not need it comes before it, and
            // sees each frame once. A model may fail or use up the frame's time: a filter that does not
            // need it has taken its rows by then.
            let next = ready.into_iter().min_by_key(|(_, stage)| match stage {
                Stage::Plugin { .. } => 2,
                Stage::Model { .. } => 1,
                _ => 0,
            });
            let Some((name, _)) = next else {
                let stuck = self.stages.keys().find(|name| !done.contains(name.as_str()));
                return Err(DescriptionError::Stage {
                    stage: stuck.cloned().unwrap_or_default(),
                    problem: "waits for its own result, directly or through other stages".into(),
                });
            };
            done.insert(name.as_str());
            order.push(name.as_str());
        }
        Ok(order)
    }

    fn check_port(&self, name: &str, port: &Port) -> Result<(), DescriptionError> {
        let fail = |problem: String| Err(DescriptionError::Port { port: name.to_owned(), problem });
        if port.fields.is_empty() || port.fields.len() > PARTS_MAX {
            return fail(format!("needs 1 to {PARTS_MAX} fields, has {}", port.fields.len()));
        }
        let mut seen = BTreeSet::new();
        let marks = port.key.iter().chain(&port.time);
        for field in marks.chain(port.fields.iter().map(|field| &field.name)) {
            if !seen.insert(field) {
                return fail(format!("field {field} is named twice"));
            }
        }
        if let Some(rate) = port.rate_hz
            && !(rate.is_finite() && rate > 0.0)
        {
            return fail(format!("rate_hz {rate} must be above zero"));
        }
        if port.time.is_none() && port.rate_hz.is_none() {
            return fail("needs `time`, the field with a reading's time, or `rate_hz`".into());
        }
        for field in &port.fields {
            let Some(Range { low, high }) = field.range else { continue };
            if !low.is_finite() || !high.is_finite() {
                return fail(format!(
                    "field {}: range [{low}, {high}] must be two finite numbers",
                    field.name
                ));
            }
            if low > high {
                return fail(format!("field {}: range [{low}, {high}] is empty", field.name));
            }
        }
        Ok(())
    }

    fn check_stage(&self, name: &str, stage: &Stage) -> Result<(), String> {
        if name.contains('.') || name.is_empty() {
            return Err("a stage's name has at least one character and no dot".into());
        }
        if self.inputs.contains_key(name) {
            return Err("has the name of a port".into());
        }
        for (input, tensor) in stage.tensors() {
            self.check_tensor(tensor).map_err(|problem| format!("input {input}: {problem}"))?;
        }
        let sound = match stage {
            Stage::Window(window) => window.check(self),
            Stage::Resample(resample) => resample.check(self),
            Stage::Model { inputs, .. } if inputs.is_empty() => Err("has no inputs".into()),
            Stage::Model { inputs, units, shapes, state, engine, .. } => {
                self.check_state(inputs, state)?;
                check_units(inputs, units)?;
                if let Some((input, sizes)) = shapes.iter().find(|(_, sizes)| sizes.contains(&0)) {
                    return Err(format!("shapes.{input} = {sizes:?} has a size of nought"));
                }
                match engine {
                    Some(engine) if !is_engine(engine) => {
                        Err(format!("engine {engine:?} must be a name of a-z, 0-9 and '-'"))
                    }
                    _ => Ok(()),
                }
            }
            Stage::Plugin { inputs, .. } if inputs.is_empty() => Err("has no inputs".into()),
            Stage::Plugin { inputs, units, on_trap, fail_safe, .. } => {
                check_units(inputs, units)?;
                check_on_trap(*on_trap, fail_safe)
            }
            built_in => built_in.built_in().map_or(Ok(()), |stage| {
                self.check_warm_up(stage.has_state())?;
                stage.check()
            }),
        };
        sound.and(stage.file().map_or(Ok(()), check_path))
    }

    fn check_state(
        &self,
        inputs: &BTreeMap<String, TensorRef>,
        state: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for (output, input) in state {
            if inputs.contains_key(input) {
                return Err(format!("state.{output}: input {input} is fed by {}", inputs[input]));
            }
            if !seen.insert(input) {
                return Err(format!("state.{output}: input {input} is another output's already"));
            }
        }
        self.check_warm_up(!state.is_empty())
    }

    fn check_warm_up(&self, has_state: bool) -> Result<(), String> {
        if has_state && self.warm_up_readings == 0 {
            return Err("has state, which a fresh worker lacks: say in warm_up_readings how many \
                 readings make up for it"
                .into());
        }
        Ok(())
    }

    fn check_tensor(&self, tensor: &TensorRef) -> Result<(), String> {
        let TensorRef { stage: name, output } = tensor;
        let Some(stage) = self.stages.get(name) else {
            return Err(match self.inputs.contains_key(name) {
                true => format!("{tensor} is a port: put a window between it and this stage"),
                false => format!("there is no stage {name}"),
            });
        };
        if let Stage::Resample(_) = stage {
            return Err(format!("{name} makes no frames: put a window between it and this stage"));
        }
        // What models and plugins give is known when they are loaded.
        let outputs = match stage {
            Stage::Model { .. } | Stage::Plugin { .. } => None,
            stage => Some(stage.built_in().map_or(&[][..], BuiltIn::outputs)),
        };
        match (outputs, output) {
            (Some([]), None) | (None, Some(_)) => Ok(()),
            (Some([]), Some(output)) => {
                Err(format!("stage {name} has one output, not {output}: write {name}"))
            }
            (None, None) => Err(format!("{tensor} has several outputs: write {tensor}.<output>")),
            (Some(outputs), Some(output)) if outputs.contains(&&**output) => Ok(()),
            (Some(outputs), _) => {
                let names: Vec<_> = outputs.iter().map(|it| format!("{name}.{it}")).collect();
                Err(format!("{tensor} is none of its outputs: write one of {}", names.join(", ")))
            }
        }
    }

    fn check_capture(&self) -> Result<(), DescriptionError> {
        if !self.capture.allowed && !self.capture.redact.is_empty() {
            let problem = "nothing is kept without `allowed = true`".to_owned();
            return place("capture.redact", problem);
        }
        let ports = self.inputs.iter();
        let columns = ports.flat_map(|(port, it)| {
            it.fields.iter().map(|field| self.input_column(port, &field.name))
        });
        let columns: Vec<_> = columns.collect();
        match self.capture.redact.iter().find(|name| !columns.contains(name)) {
            Some(name) => place(
                "capture.redact",
                format!("there is no field {name}, only [{}]", columns.join(", ")),
            ),
            None => Ok(()),
        }
    }

    fn check_outputs(&self) -> Result<(), DescriptionError> {
        if self.outputs.is_empty() {
            return place("outputs", "a bundle without outputs tells nobody anything".into());
        }
        for (name, output) in &self.outputs {
            if let Err(problem) = self.check_tensor(&output.from) {
                return place(&format!("output {name}"), problem);
            }
        }
        let known = |at: String, name: &String| {
            if self.outputs.contains_key(name) {
                Ok(())
            } else {
                let names: Vec<_> = self.outputs.keys().map(String::as_str).collect();
                place(&at, format!("there is no output {name}, only [{}]", names.join(", ")))
            }
        };
        if let Some(name) = &self.alarm_output {
            known("alarm_output".into(), name)?;
        }
        for name in self.monitor.outputs.iter().flatten() {
            known("monitor.outputs".into(), name)?;
        }
        self.check_capture()?;
        if let Some(quality) = &self.quality {
            known("quality.output".into(), &quality.output)?;
            if let Some(score) = &quality.score {
                known("quality.score".into(), score)?;
            }
            match (quality.calibrated_above, &quality.score) {
                (Some(above), _) if !(0.0..1.0).contains(&above) => {
                    let problem = format!("{above} is no probability from 0 to below 1");
                    return place("quality.calibrated_above", problem);
                }
                (Some(_), None) => {
                    let problem = "name the output that is the probability with `score`";
                    return place("quality.calibrated_above", problem.into());
                }
                _ => {}
            }
        }
        for name in self.trial.outputs.keys() {
            known("trial.outputs".into(), name)?;
        }
        for name in self.shadow.tolerance.keys().filter(|name| *name != EVERY_OUTPUT) {
            known("shadow.tolerance".into(), name)?;
        }
        for (name, value) in &self.fail_safe {
            known("fail_safe".into(), name)?;
            if let FailSafe::Number(number) = value
                && !number.is_finite()
            {
                return place(&format!("fail_safe.{name}"), format!("{number} is not finite"));
            }
        }
        let mut names = BTreeSet::new();
        for check in &self.checks {
            let at = format!("check {}", check.name);
            if !names.insert(&check.name) {
                return place(&at, "two checks have this name".into());
            }
            for (output, tolerance) in &check.tolerance {
                known(format!("{at}, tolerance"), output)?;
                for (how, size) in
                    [("absolute", tolerance.absolute), ("relative", tolerance.relative)]
                {
                    if !(size.is_finite() && size >= 0.0) {
                        let problem = format!("{how} = {size} must be finite and not negative");
                        return place(&format!("{at}, tolerance of {output}"), problem);
                    }
                }
            }
            for path in [&check.input, &check.expected] {
                if let Err(problem) = check_path(path) {
                    return place(&at, problem);
                }
            }
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), DescriptionError> {
        let limits = &self.limits;
        if limits.memory_mib < 16 || limits.plugin_memory_mib < 1 || limits.frame_ms < 1 {
            return place(
                "limits",
                "memory_mib must be at least 16, plugin_memory_mib and frame_ms at least 1".into(),
            );
        }
        for (key, value, range) in [
            ("plugin_output_mib", limits.plugin_output_mib, 1..=OUTPUT_MIB_MAX),
            ("plugin_lines_per_call", limits.plugin_lines_per_call, 0..=LINES_MAX),
            ("plugin_lines_per_second", limits.plugin_lines_per_second, 0..=LINES_MAX),
        ] {
            if !range.contains(&value) {
                let (least, most) = range.into_inner();
                return place("limits", format!("{key} = {value} must be {least} to {most}"));
            }
        }
        if let Err((key, problem)) = self.value.check() {
            return place(&format!("value.{key}"), problem);
        }
        if let Err((key, problem)) = self.requires.check() {
            return place(&format!("requires.{key}"), problem);
        }
        if let Err((field, problem)) = self.trial.check() {
            return place(&format!("trial.{field}"), problem);
        }
        if let Err((field, problem)) = self.shadow.check() {
            return place(&format!("shadow.{field}"), problem);
        }
        if let Some(range) = self.trial.alarm_share
            && self.alarm_output.is_none()
        {
            return place(
                "trial.alarm_share",
                format!(
                    "[{}, {}] needs `alarm_output`, or nothing is an alarm",
                    range.low, range.high
                ),
            );
        }
        Ok(())
    }
}

/// Whether what a plugin is to give when it breaks is said where it is needed, and only there. Which outputs
/// it has is known when it is started.
fn check_on_trap(
    on_trap: OnTrap,
    fail_safe: &BTreeMap<String, Vec<FailSafe>>,
) -> Result<(), String> {
    match (on_trap, fail_safe.is_empty()) {
        (OnTrap::FailSafe, true) => {
            return Err("on_trap = \"fail-safe\" needs fail_safe, the values of each output".into());
        }
        (OnTrap::Drop | OnTrap::HoldLast, false) => {
            return Err("fail_safe is given without on_trap = \"fail-safe\"".into());
        }
        _ => {}
    }
    for (output, values) in fail_safe {
        let wrong =
            values.iter().find(|value| matches!(value, FailSafe::Number(x) if !x.is_finite()));
        if let Some(FailSafe::Number(number)) = wrong {
            return Err(format!("fail_safe.{output}: {number} is not finite"));
        }
    }
    Ok(())
}

/// Whether units are those of inputs that something feeds.
fn check_units(
    inputs: &BTreeMap<String, TensorRef>,
    units: &BTreeMap<String, Each<String>>,
) -> Result<(), String> {
    units.iter().try_for_each(|(input, unit)| match inputs.contains_key(input) {
        true => unit.check(&format!("units.{input}")),
        false => Err(format!("units.{input}: nothing feeds such an input")),
    })
}

/// Whether `name` may name an engine. Which ones there are is the device's affair.
fn is_engine(name: &str) -> bool {
    (1..=ENGINE_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether `path` stays inside the bundle.
pub(crate) fn check_path(path: &str) -> Result<(), String> {
    let inside = !path.is_empty()
        && path.len() <= 255
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.contains(['\\', '\0']);
    if inside { Ok(()) } else { Err(format!("path {path:?} does not stay inside the bundle")) }
}

/// Checks that every file named by `bundle` is among `files`.
pub(crate) fn check_files<T>(
    bundle: &BundleFile,
    files: &BTreeMap<String, T>,
) -> Result<(), DescriptionError> {
    for path in bundle.paths() {
        if !files.contains_key(path) {
            return place(path, "is named in the description and missing from the bundle".into());
        }
    }
    Ok(())
}

/// An error at this place of a description.
pub(crate) fn place<T>(place: &str, problem: String) -> Result<T, DescriptionError> {
    Err(DescriptionError::Place { place: place.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::Cut;

    const GOOD: &str = r#"
format = 1
name = "pump"
version = "1"
alarm_output = "alarm"
[inputs.row]
rate_hz = 1.0
fields = [{ name = "flow", unit = "l/s", range = [0, 9] }, { name = "vibration" }]
[stages.window]
kind = "window"
input = "row"
rows = 6
stride = 3
[stages.judge]
kind = "model"
file = "models/pump.onnx"
inputs = { x = "window" }
[stages.alarm]
kind = "threshold"
input = "judge.score"
above = 3
[outputs]
score = { from = "judge.score" }
alarm = { from = "alarm" }
[fail_safe]
alarm = true
[trial]
alarm_share = [0.0, 0.3]
"#;

    #[test]
    fn a_number_that_a_manifest_cannot_hold_is_refused_by_its_key() {
        // JSON has no word for them: written down they would be gone, and no device could read the rest.
        for number in ["inf", "-inf", "nan"] {
            for (from, to, key) in [
                ("1.0", "NUMBER", "port row: rate_hz "),
                ("[0, 9]", "[0.0, NUMBER]", "port row: field flow: range ["),
                ("[0, 9]", "[NUMBER, 0.0]", "port row: field flow: range ["),
                ("above = 3", "above = NUMBER", "stage alarm: "),
                ("alarm = true", "score = NUMBER", "fail_safe.score: "),
                ("[0.0, 0.3]", "[0.0, NUMBER]", "trial.alarm_share: "),
                (
                    "[0.0, 0.3]",
                    "[0.0, 0.3]\noutputs.score = [NUMBER, 0.0]",
                    "trial.outputs.score: ",
                ),
                ("[0.0, 0.3]", "[0.0, 0.3]\nerror_share_max = NUMBER", "trial.error_share_max: "),
                (
                    "[0.0, 0.3]",
                    "[0.0, 0.3]\nlatency_p95_ms_max = NUMBER",
                    "trial.latency_p95_ms_max: ",
                ),
                (
                    "[trial]",
                    "[[checks]]\nname = 'a'\ninput = 'a'\nexpected = 'b'\n\
                     tolerance.score.absolute = NUMBER\n[trial]",
                    "check a, tolerance of score: absolute = ",
                ),
                (
                    "[trial]",
                    "[[checks]]\nname = 'a'\ninput = 'a'\nexpected = 'b'\n\
                     tolerance.score.relative = NUMBER\n[trial]",
                    "check a, tolerance of score: relative = ",
                ),
            ] {
                let error = changed(from, &to.replace("NUMBER", number));
                assert!(error.starts_with(key), "{to} with {number}: {error}");
            }
        }
    }

    #[test]
    fn a_trial_that_nobody_can_judge_is_refused_at_the_desk() {
        for (to, error) in [
            ("[0.3, 0.0]", "trial.alarm_share: "),
            ("[0.0, 0.3]\nerror_share_max = -1.0", "trial.error_share_max: "),
        ] {
            let said = changed("[0.0, 0.3]", to);
            assert!(said.starts_with(error), "{to}: {said}");
        }
    }

    #[test]
    fn a_shadow_that_nobody_can_judge_is_refused_at_the_desk() {
        for (shadow, error) in [
            ("frames = 0", "shadow.frames: "),
            ("agreement_min = 1.5", "shadow.agreement_min: "),
            ("tolerance.score = { absolute = inf }", "shadow.tolerance.score: "),
            (
                "tolerance.scores = { absolute = 1.0 }",
                "shadow.tolerance: there is no output scores",
            ),
            ("frame = 1", "shadow: unknown key `frame`"),
            ("frames = 10\ntolerance.score = { relative = 0.1 }\ntolerance.'*' = {}", "accepted"),
        ] {
            let said = changed("[trial]", &format!("[shadow]\n{shadow}\n[trial]"));
            assert!(said.starts_with(error), "{shadow}: {said}");
        }
    }

    fn changed(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from:?} is not in the example");
        match BundleFile::parse(&GOOD.replace(from, to)) {
            Ok(_) => "accepted".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_stage_with_state_needs_readings_that_make_up_for_it() {
        let said = changed("above = 3", "above = 3\nuntil = 2");
        assert!(said.starts_with("stage alarm: has state, which a fresh worker lacks"), "{said}");
        let warm = GOOD.replace("version =", "warm_up_readings = 6\nversion =");
        assert!(BundleFile::parse(&warm.replace("above = 3", "above = 3\nuntil = 2")).is_ok());
    }

    #[test]
    fn a_bundle_that_would_never_answer_is_not_written() {
        let said = changed("version =", "warm_up_readings = 4294967295\nversion =");
        assert_eq!(
            said,
            "warm_up_readings: 4294967295 must be at most 16777216: until then nothing is answered"
        );
        assert_eq!(changed("version =", "warm_up_readings = 16777216\nversion ="), "accepted");
    }

    #[test]
    fn what_does_not_need_a_plugin_comes_before_it() {
        let plugin = "[stages.cost]\nkind = 'plugin'\nplugin = 'cost'\ninputs = { x = 'window' }\n";
        let text = GOOD.replace("[outputs]", &format!("{plugin}[outputs]"));
        let bundle = BundleFile::parse(&text).unwrap();
        assert_eq!(bundle.order().unwrap(), ["window", "judge", "alarm", "cost"]);
    }

    #[test]
    fn a_whole_description_holds_together() {
        let bundle = BundleFile::parse(GOOD).unwrap();
        assert_eq!(bundle.order().unwrap(), ["window", "judge", "alarm"]);
        assert_eq!(bundle.cut(), Cut::Count { rows: 6, stride: 3 });
        assert_eq!(bundle.paths(), ["models/pump.onnx"]);
    }

    #[test]
    fn an_error_names_the_stage_the_port_or_the_key() {
        for (from, to, error) in [
            ("format = 1", "format = 9", "format 9 is not known here, only 1 is"),
            (
                "\"judge.score\"\nabove",
                "\"jugde.score\"\nabove",
                "stage alarm: input input: there is no stage jugde",
            ),
            (
                "\"judge.score\"\nabove",
                "\"judge\"\nabove",
                "stage alarm: input input: judge has several outputs: write judge.<output>",
            ),
            (
                "x = \"window\"",
                "x = \"row\"",
                "stage judge: input x: row is a port: put a window between it and this stage",
            ),
            (
                "x = \"window\"",
                "x = \"alarm\"",
                "stage alarm: waits for its own result, directly or through other stages",
            ),
            (
                "stride = 3",
                "stride = 7",
                "stage window: stride = 7 must be 1 to rows = 6: readings between windows would be lost",
            ),
            ("input = \"row\"", "input = \"rows\"", "stage window: there is no port rows"),
            (
                "stride = 3",
                "stride = 3\ngap_seconds = 5.0",
                "stage window: gap_seconds needs readings with a `time` of their own",
            ),
            (
                "x = \"window\" }",
                "x = \"window\" }\nunits = { y = \"mm\" }",
                "stage judge: units.y: nothing feeds such an input",
            ),
            ("above = 3", "above = nan", "stage alarm: needs a finite level, `above` or `below`"),
            ("above = 3", "above = 3\nbelow = 1", "stage alarm: has both `above` and `below`"),
            (
                "{ from = \"alarm\" }",
                "{ from = \"alarm.x\" }",
                "output alarm: stage alarm has one output, not x: write alarm",
            ),
            (
                "alarm_output = \"alarm\"",
                "alarm_output = \"alert\"",
                "alarm_output: there is no output alert, only [alarm, score]",
            ),
            (
                "[fail_safe]",
                "[quality]\noutput = \"alert\"\n[fail_safe]",
                "quality.output: there is no output alert, only [alarm, score]",
            ),
            (
                "[fail_safe]",
                "[quality]\noutput = \"alarm\"\nscore = \"wear\"\n[fail_safe]",
                "quality.score: there is no output wear, only [alarm, score]",
            ),
            (
                "alarm_output = \"alarm\"",
                "",
                "trial.alarm_share: [0, 0.3] needs `alarm_output`, or nothing is an alarm",
            ),
            (
                "[fail_safe]\nalarm",
                "[monitor]\noutputs = [\"alert\"]\n[fail_safe]\nalarm",
                "monitor.outputs: there is no output alert, only [alarm, score]",
            ),
            (
                "[fail_safe]\nalarm",
                "[capture]\nallowed = true\nredact = [\"flaw\"]\n[fail_safe]\nalarm",
                "capture.redact: there is no field flaw, only [flow, vibration]",
            ),
            (
                "[fail_safe]\nalarm",
                "[capture]\nredact = [\"flow\"]\n[fail_safe]\nalarm",
                "capture.redact: nothing is kept without `allowed = true`",
            ),
            (
                "[fail_safe]\nalarm",
                "[fail_safe]\nalert",
                "fail_safe: there is no output alert, only [alarm, score]",
            ),
            ("name = \"vibration\"", "name = \"flow\"", "port row: field flow is named twice"),
            (
                "rate_hz = 1.0",
                "",
                "port row: needs `time`, the field with a reading's time, or `rate_hz`",
            ),
            ("[0, 9]", "[9, 0]", "port row: field flow: range [9, 0] is empty"),
            (
                "models/pump.onnx",
                "../pump.onnx",
                "stage judge: path \"../pump.onnx\" does not stay inside the bundle",
            ),
        ] {
            assert_eq!(changed(from, to), error);
        }
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        for (from, to, key) in [
            ("format = 1", "formt = 1", "formt"),
            ("stride = 3", "strid = 3", "strid"),
            ("unit = ", "units = ", "units"),
            ("[fail_safe]", "[fail_saf]", "fail_saf"),
        ] {
            let error = changed(from, to);
            assert!(error.contains(&format!("unknown key `{key}`")), "{error}");
            assert!(error.contains("line"), "{error}");
        }
    }
}
