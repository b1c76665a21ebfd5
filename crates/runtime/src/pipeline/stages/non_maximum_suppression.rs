//! Of boxes that overlap, the one with the highest score.

use super::{Fitted, Input, Stage, descending, narrow, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Data, Element, Tensor};
use lineside_bundle::stages::{BoxForm, NonMaximumSuppression};

/// Scores of a frame that are looked at.
const SCORES_MAX: usize = 1 << 20;
/// Boxes of a frame that are compared with others: those with the highest scores. It bounds the time that a
/// frame takes, whatever an image shows.
const CANDIDATES_MAX: usize = 4096;

struct Suppressed {
    classes: usize,
    form: BoxForm,
    score_min: f64,
    overlap_max: f64,
    max: usize,
}

/// A box that may be kept.
struct Candidate {
    score: f64,
    place: usize,
    class: usize,
}

pub(super) fn fit(
    described: &NonMaximumSuppression,
    boxes: &Input<'_>,
    scores: &Input<'_>,
) -> Result<Fitted, String> {
    boxes.check_numbers()?;
    scores.check_numbers()?;
    if boxes.last() != 4 {
        return Err(boxes.wrong("four numbers a box are needed along the last dimension"));
    }
    let count = boxes.flow.port.len() / 4;
    let (all, last) = (scores.flow.port.len(), scores.last());
    // A list has a score for each box; else the last dimension has those of a box.
    let classes = if all == count { 1 } else { last };
    if Some(all) != count.checked_mul(classes) {
        return Err(scores.wrong(format!("scores of {count} boxes are needed")));
    }
    if all > SCORES_MAX {
        return Err(scores.wrong(format!("more than {SCORES_MAX} scores")));
    }
    let max = described.max as usize;
    let outputs = vec![
        Flow::named("boxes", Element::F32, vec![max, 4])?,
        Flow::named("scores", Element::F32, vec![max])?,
        Flow::named("classes", Element::I64, vec![max])?,
        Flow::named("count", Element::I64, vec![1])?,
    ];
    let NonMaximumSuppression { form, score_min, overlap_max, .. } = *described;
    let score_min = scores.rounded(score_min);
    let stage = Suppressed { classes, form, score_min, overlap_max, max };
    Ok(Fitted { stage: Box::new(stage), outputs })
}

impl Stage for Suppressed {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let (boxes, scores) = (numbers(inputs, 0)?, numbers(inputs, 1)?);
        let (boxes, _) = boxes.as_chunks::<4>();
        let kept = self.kept(boxes, &scores);
        let mut found = vec![0.0; 4 * self.max];
        let (mut found_scores, mut classes) = (vec![0.0; self.max], vec![-1; self.max]);
        for (at, candidate) in kept.iter().enumerate() {
            found[4 * at..4 * at + 4].copy_from_slice(&boxes[candidate.place]);
            found_scores[at] = candidate.score;
            classes[at] = candidate.class as i64;
        }
        Ok(vec![
            tensor(&[self.max, 4], narrow(found))?,
            tensor(&[self.max], narrow(found_scores))?,
            tensor(&[self.max], Data::I64(classes))?,
            tensor(&[1], Data::I64(vec![kept.len() as i64]))?,
        ])
    }
}

impl Suppressed {
    /// What is kept, the highest score first; of equal ones that which comes first.
    fn kept(&self, boxes: &[[f64; 4]], scores: &[f64]) -> Vec<Candidate> {
        let all = scores.iter().enumerate().filter(|(_, score)| **score >= self.score_min);
        let mut candidates: Vec<Candidate> = all
            .map(|(at, score)| {
                let (place, class) = (at / self.classes, at % self.classes);
                Candidate { score: *score, place, class }
            })
            .collect();
        candidates.sort_by(|a, b| descending(a.score, b.score));
        candidates.truncate(CANDIDATES_MAX);
        let mut kept: Vec<Candidate> = Vec::new();
        for candidate in candidates {
            if kept.len() == self.max {
                break;
            }
            let corners = self.corners(&boxes[candidate.place]);
            let is_covered = kept.iter().any(|other| {
                other.class == candidate.class
                    && overlap(corners, self.corners(&boxes[other.place])) > self.overlap_max
            });
            if !is_covered {
                kept.push(candidate);
            }
        }
        kept
    }

    /// Least and greatest coordinates, whichever corners were given.
    fn corners(&self, [a, b, c, d]: &[f64; 4]) -> [f64; 4] {
        match self.form {
            BoxForm::Corners => [a.min(*c), b.min(*d), a.max(*c), b.max(*d)],
            BoxForm::Centre => [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0],
        }
    }
}

/// What two boxes have in common, as a share of what they cover together.
fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let side = |at: usize| (a[at + 2].min(b[at + 2]) - a[at].max(b[at])).max(0.0);
    let area = |it: [f64; 4]| (it[2] - it[0]) * (it[3] - it[1]);
    let common = side(0) * side(1);
    let together = area(a) + area(b) - common;
    if together > 0.0 { common / together } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, close, fitted, window};
    use super::*;
    use crate::pipeline::flow;
    use proptest::prelude::*;

    const STAGE: &str =
        "kind = 'non-maximum-suppression'\nboxes = 'judge.boxes'\nscores = 'judge.scores'\n";
    const LIMITS: &str = "score_min = 0.5\noverlap_max = 0.4\nmax = 3\n";
    /// The second covers half of the first; the third lies apart.
    const BOXES: [f32; 12] = [0., 0., 2., 2., 0., 0., 2., 1., 10., 10., 12., 12.];

    /// Scores, classes and the number of those that are kept.
    fn kept(settings: &str, boxes: &[f32], scores: &[f32], classes: usize) -> [Vec<f64>; 4] {
        let count = boxes.len() / 4;
        let shape = if classes == 1 { vec![count] } else { vec![1, count, classes] };
        let flows = [window(&[count, 4]), window(&shape)];
        let mut bench = Bench::new(&format!("{STAGE}{settings}"), &flows);
        let inputs = [Data::F32(boxes.to_vec()), Data::F32(scores.to_vec())];
        let outputs = bench.run("", &inputs).unwrap();
        [0, 1, 2, 3].map(|at| flow::numbers(&outputs[at]).unwrap())
    }

    #[test]
    fn of_boxes_that_overlap_the_one_with_the_higher_score_is_kept() {
        let [boxes, scores, classes, count] = kept(LIMITS, &BOXES, &[0.8, 0.9, 0.6], 1);
        close(&boxes, &[0., 0., 2., 1., 10., 10., 12., 12., 0., 0., 0., 0.]);
        close(&scores, &[0.9, 0.6, 0.0]);
        assert_eq!((classes, count), (vec![0.0, 0.0, -1.0], vec![2.0]));
        // They overlap by exactly a half, which is not above it.
        let half = LIMITS.replace("0.4", "0.5");
        assert_eq!(kept(&half, &BOXES, &[0.8, 0.9, 0.6], 1)[3], [3.0]);
        assert_eq!(kept(LIMITS, &BOXES, &[0.1, 0.2, 0.3], 1)[3], [0.0]);
        let one = LIMITS.replace("max = 3\n", "max = 1\n");
        close(&kept(&one, &BOXES, &[0.8, 0.9, 0.6], 1)[1], &[0.9]);
    }

    #[test]
    fn boxes_of_different_classes_do_not_cover_each_other() {
        // Two scores a box.
        let scores = [0.8, 0.1, 0.1, 0.9, 0.7, 0.1];
        let [_, found, classes, _] = kept(LIMITS, &BOXES, &scores, 2);
        close(&found, &[0.9, 0.8, 0.7]);
        assert_eq!(classes, [1.0, 0.0, 0.0]);
    }

    #[test]
    fn a_box_by_its_middle_and_size_is_the_same_box() {
        let middles = [1., 1., 2., 2., 1., 0.5, 2., 1., 11., 11., 2., 2.];
        let settings = format!("{LIMITS}form = 'centre'");
        let [boxes, scores, ..] = kept(&settings, &middles, &[0.8, 0.9, 0.6], 1);
        close(&boxes[..4], &[1., 0.5, 2., 1.]);
        close(&scores, &[0.9, 0.6, 0.0]);
    }

    #[test]
    fn what_are_no_boxes_or_no_scores_of_them_is_refused_by_input() {
        let refused = |settings: &str, boxes: &[usize], scores: &[usize]| {
            let flows = [window(boxes), window(scores)];
            fitted(&format!("{STAGE}{settings}"), &flows).err().unwrap()
        };
        assert_eq!(
            refused(LIMITS, &[3, 5], &[3]),
            "input boxes: judge.boxes is f32 [3, 5], four numbers a box are needed along the last dimension"
        );
        assert_eq!(
            refused(LIMITS, &[3, 4], &[2, 2]),
            "input scores: judge.scores is f32 [2, 2], scores of 3 boxes are needed"
        );
        let no_share = LIMITS.replace("0.4", "1.4");
        assert_eq!(refused(&no_share, &[3, 4], &[3]), "overlap_max = 1.4 must be 0 to 1");
        let none = LIMITS.replace("max = 3\n", "max = 0\n");
        assert_eq!(refused(&none, &[3, 4], &[3]), "max = 0 must be 1 to 1024");
        let nan = LIMITS.replace("0.5", "nan");
        assert_eq!(refused(&nan, &[3, 4], &[3]), "score_min = NaN must be finite");
    }

    proptest! {
        #[test]
        fn no_two_that_are_kept_overlap_by_more_and_scores_fall(
            boxes in proptest::collection::vec((0f32..9.0, 0f32..9.0, 0f32..5.0, 0f32..5.0), 1..20),
            scores in proptest::collection::vec(0f32..1.0, 20),
        ) {
            let count = boxes.len();
            let corners = boxes.iter().flat_map(|(x, y, w, h)| [*x, *y, x + w, y + h]);
            let corners: Vec<f32> = corners.collect();
            let limits = LIMITS.replace("max = 3\n", "max = 20\n");
            let [found, falling, _, number] = kept(&limits, &corners, &scores[..count], 1);
            let number = number[0] as usize;
            let (found, _) = found[..4 * number].as_chunks::<4>();
            for (at, one) in found.iter().enumerate() {
                prop_assert!(at == 0 || falling[at] <= falling[at - 1]);
                for other in &found[..at] {
                    prop_assert!(overlap(*one, *other) <= 0.4 + 1e-9);
                }
            }
        }
    }
}
