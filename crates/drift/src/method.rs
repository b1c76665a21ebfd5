//! The methods: their names, thresholds, comparisons, and which one is taken where none is named.

mod anderson;
pub(crate) mod counts;
mod cramer;
pub(crate) mod distance;
mod epps;
pub(crate) mod ks;
mod ranks;
pub(crate) mod shares;
mod student;

use crate::column::Kind;
use crate::pair::{Numbers, Tally};
use crate::verdict::NotComputable;
use std::fmt;
use std::str::FromStr;

/// A reference with more valid values than these is compared by a distance where no method is named, a
/// smaller one by a test.
pub const DEFAULT_ROWS: u64 = 1000;
/// A numerical column with no more distinct values than these is compared as a categorical one where no
/// method is named.
const FEW_VALUES: usize = 5;

/// How a score is held against the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// A p-value: drift at or below the threshold.
    AtOrBelow,
    /// A p-value: drift below the threshold.
    Below,
    /// A distance: drift at or above the threshold.
    AtOrAbove,
    /// A distance: drift above the threshold.
    Above,
}

impl Comparison {
    /// Whether a score is drift. NaN never is.
    pub fn is_drift(self, score: f64, threshold: f64) -> bool {
        match self {
            Comparison::AtOrBelow => score <= threshold,
            Comparison::Below => score < threshold,
            Comparison::AtOrAbove => score >= threshold,
            Comparison::Above => score > threshold,
        }
    }

    /// Its sign, as in `<=`.
    pub fn sign(self) -> &'static str {
        match self {
            Comparison::AtOrBelow => "<=",
            Comparison::Below => "<",
            Comparison::AtOrAbove => ">=",
            Comparison::Above => ">",
        }
    }
}

/// A way to compare the two sides of a column, by the name that Evidently 0.7.23 gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Kolmogorov-Smirnov test of two samples, two-sided.
    Ks,
    /// Cramér-von Mises test of two samples.
    CramerVonMises,
    /// Anderson-Darling test of k samples, with midranks.
    Anderson,
    /// Mann-Whitney test, whether the reference is less than the current data.
    MannWhitney,
    /// Student's test of two means, with one variance.
    TTest,
    /// Epps-Singleton test.
    EppsSingleton,
    /// Pearson's chi-square test of the current counts against the reference's shares.
    ChiSquare,
    /// Test of two proportions.
    Z,
    /// Fisher's exact test of a two-by-two table.
    FisherExact,
    /// Likelihood-ratio test of the current counts against the reference's.
    GTest,
    /// Wasserstein distance in standard deviations of the reference.
    Wasserstein,
    /// Energy distance.
    Energy,
    /// Jensen-Shannon distance.
    JensenShannon,
    /// Population stability index.
    Psi,
    /// Kullback-Leibler divergence of the reference from the current data.
    KullbackLeibler,
    /// Hellinger distance.
    Hellinger,
}

use Method::{
    Anderson, ChiSquare, CramerVonMises, Energy, EppsSingleton, FisherExact, GTest, Hellinger,
    JensenShannon, Ks, KullbackLeibler, MannWhitney, Psi, TTest, Wasserstein, Z,
};

/// No method has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no method {name}: use one of {}", .known.join(", "))]
pub struct UnknownMethod {
    /// What was asked for.
    pub name: String,
    /// What there is.
    pub known: Vec<&'static str>,
}

impl UnknownMethod {
    pub(crate) fn among(name: &str, known: impl Into<Vec<&'static str>>) -> UnknownMethod {
        UnknownMethod { name: name.to_owned(), known: known.into() }
    }
}

impl Method {
    /// All of them: those for numbers, those for categories, those for both.
    pub const ALL: [Method; 16] = [
        Ks,
        CramerVonMises,
        Anderson,
        MannWhitney,
        TTest,
        EppsSingleton,
        Wasserstein,
        Energy,
        ChiSquare,
        Z,
        FisherExact,
        GTest,
        JensenShannon,
        Psi,
        KullbackLeibler,
        Hellinger,
    ];

    /// Its name in Evidently.
    pub fn name(self) -> &'static str {
        match self {
            Ks => "ks",
            CramerVonMises => "cramer_von_mises",
            Anderson => "anderson",
            MannWhitney => "mannw",
            TTest => "t_test",
            EppsSingleton => "es",
            ChiSquare => "chisquare",
            Z => "z",
            FisherExact => "fisher_exact",
            GTest => "g_test",
            Wasserstein => "wasserstein",
            Energy => "ed",
            JensenShannon => "jensenshannon",
            Psi => "psi",
            KullbackLeibler => "kl_div",
            Hellinger => "hellinger",
        }
    }

    /// Its threshold where none is named: a p-value for tests, the unit of the score for distances.
    pub fn default_threshold(self) -> f64 {
        match self {
            Ks | MannWhitney | TTest | EppsSingleton | ChiSquare | Z => 0.05,
            CramerVonMises | Anderson | FisherExact | GTest => 0.1,
            Wasserstein | Energy | JensenShannon | Psi | KullbackLeibler | Hellinger => 0.1,
        }
    }

    /// How its score is held against the threshold.
    pub fn comparison(self) -> Comparison {
        match self {
            Ks | CramerVonMises => Comparison::AtOrBelow,
            Anderson | MannWhitney | TTest | EppsSingleton | ChiSquare | Z | FisherExact
            | GTest => Comparison::Below,
            Wasserstein | JensenShannon | Psi | KullbackLeibler | Hellinger => {
                Comparison::AtOrAbove
            }
            Energy => Comparison::Above,
        }
    }

    /// Whether somebody may name it for a column of this kind. [`Method::default_for`] takes some for
    /// numerical columns with few values that nobody may name there.
    pub fn applies_to(self, kind: Kind) -> bool {
        match self {
            Ks | CramerVonMises | Anderson | MannWhitney | TTest | EppsSingleton | Wasserstein
            | Energy => kind == Kind::Numerical,
            ChiSquare | Z | FisherExact | GTest => kind == Kind::Categorical,
            JensenShannon | Psi | KullbackLeibler | Hellinger => kind != Kind::Text,
        }
    }

    /// The method that is taken where none is named: by the kind, the number of valid values of the
    /// reference, and the number of distinct values on both sides together. None for text.
    pub fn default_for(kind: Kind, reference: u64, distinct: usize) -> Option<Method> {
        let few = match kind {
            Kind::Text => return None,
            Kind::Categorical => true,
            Kind::Numerical => distinct <= FEW_VALUES,
        };
        Some(match (reference > DEFAULT_ROWS, few) {
            (true, true) => JensenShannon,
            (true, false) => Wasserstein,
            (false, true) if distinct > 2 => ChiSquare,
            (false, true) => Z,
            (false, false) => Ks,
        })
    }

    /// The score. Numbers are given for numerical columns only; neither side is empty.
    ///
    /// # Errors
    /// [`NotComputable`], of the method itself.
    pub(crate) fn score(
        self,
        numbers: Option<&Numbers>,
        tally: &Tally,
    ) -> Result<f64, NotComputable> {
        let score = match (self, numbers) {
            (ChiSquare, _) => counts::chi_square(tally),
            (Z, _) => counts::z(tally)?,
            (FisherExact, _) => counts::fisher_exact(tally)?,
            (GTest, _) => counts::g_test(tally)?,
            (JensenShannon, _) => distance::jensen_shannon(&shares::shares(numbers, tally)?),
            (Psi, _) => distance::stability_index(&shares::shares(numbers, tally)?),
            (KullbackLeibler, _) => distance::kullback_leibler(&shares::shares(numbers, tally)?),
            (Hellinger, None) => distance::hellinger(tally),
            (Hellinger, Some(numbers)) => distance::hellinger_of_numbers(numbers)?,
            (Ks, Some(numbers)) => ks::p_value(numbers),
            (CramerVonMises, Some(numbers)) => cramer::p_value(numbers)?,
            (Anderson, Some(numbers)) => anderson::p_value(numbers)?,
            (MannWhitney, Some(numbers)) => ranks::mann_whitney(numbers)?,
            (TTest, Some(numbers)) => student::p_value(numbers),
            (EppsSingleton, Some(numbers)) => epps::p_value(numbers)?,
            (Wasserstein, Some(numbers)) => distance::wasserstein(numbers),
            (Energy, Some(numbers)) => distance::energy(numbers),
            (
                Ks | CramerVonMises | Anderson | MannWhitney | TTest | EppsSingleton | Wasserstein
                | Energy,
                None,
            ) => return Err(NotComputable::Applies { method: self, kind: Kind::Categorical }),
        };
        if score.is_nan() { Err(NotComputable::Undefined { method: self }) } else { Ok(score) }
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Method, UnknownMethod> {
        let method = Method::ALL.into_iter().find(|method| method.name() == name);
        method.ok_or_else(|| UnknownMethod::among(name, Method::ALL.map(Method::name)))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_goes_by_kind_rows_of_the_reference_and_distinct_values() {
        use Kind::{Categorical, Numerical, Text};
        let table = [
            (Numerical, 6, Ks, Wasserstein),
            (Numerical, 5, ChiSquare, JensenShannon),
            (Numerical, 3, ChiSquare, JensenShannon),
            (Numerical, 2, Z, JensenShannon),
            (Categorical, 1_000_000, ChiSquare, JensenShannon),
            (Categorical, 3, ChiSquare, JensenShannon),
            (Categorical, 2, Z, JensenShannon),
            (Categorical, 1, Z, JensenShannon),
        ];
        for (kind, distinct, small, large) in table {
            assert_eq!(
                Method::default_for(kind, 1000, distinct),
                Some(small),
                "{kind:?} {distinct}"
            );
            assert_eq!(
                Method::default_for(kind, 1001, distinct),
                Some(large),
                "{kind:?} {distinct}"
            );
        }
        assert_eq!(Method::default_for(Text, 10, 9), None);
    }

    #[test]
    fn the_threshold_itself_is_drift_for_some_methods_only() {
        let drifts = |method: Method| {
            let threshold = method.default_threshold();
            (threshold, method.comparison().is_drift(threshold, threshold))
        };
        for method in Method::ALL {
            let expected = match method.name() {
                "ks" => (0.05, true),
                "cramer_von_mises" => (0.1, true),
                "chisquare" | "z" | "t_test" | "mannw" | "es" => (0.05, false),
                "anderson" | "fisher_exact" | "g_test" => (0.1, false),
                "wasserstein" | "jensenshannon" | "psi" | "kl_div" | "hellinger" => (0.1, true),
                "ed" => (0.1, false),
                other => panic!("{other} is not in the table"),
            };
            assert_eq!(drifts(method), expected, "{method}");
            assert!(!method.comparison().is_drift(f64::NAN, 0.1));
            assert_eq!(method.name().parse(), Ok(method));
        }
        let unknown = "chi2".parse::<Method>().unwrap_err().to_string();
        assert!(unknown.starts_with("there is no method chi2: use one of ks, "), "{unknown}");
    }
}
