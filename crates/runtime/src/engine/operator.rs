//! The operators of a model: which an engine has, and what to do about those that it has not.

use std::collections::BTreeSet;
use std::fmt;

/// Names of ONNX's own domain (ONNX, IR.md, "Operator Sets").
const OWN_DOMAINS: [&str; 2] = ["", "ai.onnx"];
/// Domain of the operators for classical machine learning.
pub const ML_DOMAIN: &str = "ai.onnx.ml";
/// Domain of onnxruntime's own operators.
pub const MICROSOFT_DOMAIN: &str = "com.microsoft";

/// What helps where an engine is not to be had on a machine.
const INSTALL: &str = "install the shared library of onnxruntime, 1.17 or later, and name it in \
    [onnxruntime] of agent.toml, at the desk in LINESIDE_ONNXRUNTIME";

/// An operator of ONNX: a name in a domain.
///
/// What a model defines itself (`ModelProto.functions`) is one, too: so far no engine of ours looks
/// into it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operator {
    /// Empty for ONNX's own.
    domain: String,
    name: String,
}

impl Operator {
    /// The operator called `name` in `domain`.
    pub fn new(domain: &str, name: &str) -> Operator {
        let domain = if OWN_DOMAINS.contains(&domain) { "" } else { domain };
        Operator { domain: domain.to_owned(), name: name.to_owned() }
    }

    /// The operator that is displayed as `text`.
    pub fn parse(text: &str) -> Operator {
        match text.rsplit_once('.') {
            Some((domain, name)) => Operator::new(domain, name),
            None => Operator::new("", text),
        }
    }

    /// Its domain; empty for ONNX's own.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Its name within the domain.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What to change in the export, so that the model does without it.
    fn cure(&self) -> Option<&'static str> {
        Some(match (self.domain(), self.name()) {
            (ML_DOMAIN, "Scaler" | "Normalizer" | "LinearClassifier" | "LinearRegressor") => {
                "export it with black_op={'Scaler', 'Normalizer', 'LinearClassifier', \
                 'LinearRegressor'}, which makes plain operators of them"
            }
            (ML_DOMAIN, "ZipMap") => "export it with options={'zipmap': False}",
            (ML_DOMAIN, "TreeEnsembleClassifier" | "TreeEnsembleRegressor") => {
                "the engine classical runs it where tract runs the other operators of the model: take \
                 those out that it lacks"
            }
            (ML_DOMAIN, "TreeEnsemble") => "export it for version 3 of the domain ai.onnx.ml",
            (
                ML_DOMAIN,
                "SVMClassifier"
                | "SVMRegressor"
                | "OneHotEncoder"
                | "LabelEncoder"
                | "Imputer"
                | "ArrayFeatureExtractor",
            ) => "make tensor operators of it, for instance with hummingbird-ml",
            (_, name) if name.starts_with("QLinear") || name == "QGemm" => {
                "quantise it in the format QDQ, not QOperator"
            }
            (MICROSOFT_DOMAIN, "CDist") | ("", "Scan") => {
                "have onnxruntime run it (and export with options={'zipmap': False}); of scikit-learn's \
                 neighbours hummingbird-ml makes tensor operators; a loop of torch's is none where it is traced \
                 for one number of steps"
            }
            (MICROSOFT_DOMAIN, _) => {
                "export it as it was before onnxruntime optimised it: its operators are its own"
            }
            ("", "If" | "Loop") => {
                "export it so that the branch is decided there: traced, for one rate and one shape"
            }
            (
                "",
                "Bernoulli" | "Multinomial" | "RandomNormal" | "RandomNormalLike" | "RandomUniform"
                | "RandomUniformLike",
            ) => {
                "export it for inference (model.eval()), without what draws lots: nothing could check \
                 its answers"
            }
            ("" | ML_DOMAIN, _) => return None,
            _ => {
                "if the file defines it as a function, put its parts in its place with \
                 onnx.inliner.inline_local_functions; else do in a plugin what it does"
            }
        })
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.domain.as_str() {
            "" => f.write_str(&self.name),
            domain => write!(f, "{domain}.{}", self.name),
        }
    }
}

/// Why an engine does not run a model with some operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// The operator.
    pub operator: Operator,
    /// What is the matter with it.
    pub reason: Reason,
}

/// What is the matter with an operator in some engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The engine does not have it.
    Lacking,
    /// The engine has it and gives wrong answers.
    Wrong,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Lacking => write!(f, "lacks {}", self.operator),
            Reason::Wrong => write!(f, "gets {} wrong", self.operator),
        }
    }
}

/// Why an engine does not run a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// Operators that it objects to.
    Operators(Vec<Objection>),
    /// It has them all, and is not to be had on this machine: why.
    Absent(String),
}

impl Unfit {
    /// What helps, as far as anybody knows.
    pub fn cures(&self) -> BTreeSet<&'static str> {
        match self {
            Unfit::Operators(objections) => {
                objections.iter().filter_map(|objection| objection.operator.cure()).collect()
            }
            Unfit::Absent(_) => BTreeSet::from([INSTALL]),
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Operators(objections) => {
                for (place, objection) in objections.iter().enumerate() {
                    f.write_str(if place > 0 { ", " } else { "" })?;
                    write!(f, "{objection}")?;
                }
                Ok(())
            }
            Unfit::Absent(why) => write!(f, "has all operators and {why}"),
        }
    }
}

/// Why no engine that was asked runs a model: what is the matter with each, and the cures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub Vec<(&'static str, Unfit)>);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (engine, unfit)) in self.0.iter().enumerate() {
            f.write_str(if place > 0 { "; " } else { "" })?;
            write!(f, "{engine} {unfit}")?;
        }
        let cures: BTreeSet<_> = self.0.iter().flat_map(|(_, unfit)| unfit.cures()).collect();
        cures.into_iter().try_for_each(|cure| write!(f, "; what helps: {cure}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_told_by_name_and_by_domain_where_that_is_not_onnx_s_own() {
        for text in ["Conv", "ai.onnx.ml.Normalizer", "com.acme.Guess"] {
            assert_eq!(Operator::parse(text).to_string(), text);
        }
        let conv = Operator::parse("Conv");
        assert_eq!(Operator::new("ai.onnx", "Conv"), conv);
        assert_eq!((conv.domain(), conv.name()), ("", "Conv"));
    }

    #[test]
    fn a_refusal_names_each_engine_s_operators_and_every_cure_once() {
        let lacks =
            |operator| Objection { operator: Operator::parse(operator), reason: Reason::Lacking };
        let wrong = Objection { reason: Reason::Wrong, ..lacks("ai.onnx.ml.ZipMap") };
        let refusal = Refusal(vec![
            ("tract", Unfit::Operators(vec![lacks("com.microsoft.QGemm"), lacks("Teleport")])),
            ("rten", Unfit::Operators(vec![lacks("com.microsoft.QGemm"), wrong])),
        ]);
        assert_eq!(
            refusal.to_string(),
            "tract lacks com.microsoft.QGemm, lacks Teleport; \
             rten lacks com.microsoft.QGemm, gets ai.onnx.ml.ZipMap wrong; \
             what helps: export it with options={'zipmap': False}; \
             what helps: quantise it in the format QDQ, not QOperator"
        );
    }
}
