//! The upper tail of Kolmogorov's two-sided statistic of `n` values, for the ranges that Simard and L'Ecuyer
//! tell apart ("Computing the two-sided Kolmogorov-Smirnov distribution", 2011), as scipy 1.17 does. Exact but
//! for [`pelz_good`], whose formula therefore has to be the same as scipy's.

use super::stirling::stirling_error;
use std::f64::consts::PI;

/// The probability that the largest distance between the distribution of `n` values (at least 1) and their
/// own is `d` or more.
pub(crate) fn kolmogorov_tail(n: u64, d: f64) -> f64 {
    let count = n as f64;
    let steps = count * d;
    if steps <= 0.5 {
        return 1.0;
    }
    if d >= 1.0 {
        return 0.0;
    }
    if steps <= 1.0 {
        let below: f64 = (1..=n).map(|i| i as f64 / count * (2.0 * steps - 1.0)).product();
        return 1.0 - below;
    }
    if steps >= count - 1.0 {
        return 2.0 * (1.0 - d).powf(count);
    }
    let square = steps * d;
    // Where the tail is small, that of one side is half of it to more digits than there are.
    let by_one_side = d >= 0.5 || square > 4.0 || (n > 140 && square >= 2.2);
    let tail = if by_one_side {
        if n > 140 && d < 0.5 && square >= 370.0 { 0.0 } else { 2.0 * one_sided(n, d) }
    } else if n <= 140 || (n <= 100_000 && count * d.powf(1.5) <= 1.4) {
        1.0 - below_by_matrix(n, d)
    } else {
        1.0 - pelz_good(count, d)
    };
    tail.clamp(0.0, 1.0)
}

/// The tail of Smirnov's one-sided statistic: the sum of Birnbaum and Tingey (1951), each term a binomial
/// probability by Loader's formula.
fn one_sided(n: u64, d: f64) -> f64 {
    let count = n as f64;
    let shift = count * d;
    let mut sum = (count * (-d).ln_1p()).exp();
    for j in 1..n {
        let j = j as f64;
        let rest = count - j;
        if rest <= shift {
            break;
        }
        let power = j * (shift / j).ln_1p() + rest * (-shift / rest).ln_1p();
        let error = stirling_error(count) - stirling_error(j) - stirling_error(rest);
        let binomial = (power + error).exp() * (count / (2.0 * PI * j * rest)).sqrt();
        sum += shift / (shift + j) * binomial;
    }
    sum
}

/// A square matrix times a power of two, so that high powers of it neither overflow nor vanish.
#[derive(Clone)]
struct Scaled {
    size: usize,
    cells: Vec<f64>,
    exponent: i32,
}

impl Scaled {
    fn times(&self, other: &Scaled) -> Scaled {
        let size = self.size;
        let mut cells = vec![0.0; size * size];
        for (row, into) in cells.chunks_mut(size).enumerate() {
            for at in 0..size {
                let factor = self.cells[row * size + at];
                if factor != 0.0 {
                    let line = &other.cells[at * size..][..size];
                    into.iter_mut().zip(line).for_each(|(cell, value)| *cell += factor * value);
                }
            }
        }
        let exponent = self.exponent + other.exponent;
        Scaled { size, cells, exponent }.scaled()
    }

    fn scaled(mut self) -> Scaled {
        const BITS: i32 = 512;
        let middle = self.size / 2 * (self.size + 1);
        if self.cells[middle].abs() > 2f64.powi(BITS) {
            self.cells.iter_mut().for_each(|cell| *cell *= 2f64.powi(-BITS));
            self.exponent += BITS;
        }
        self
    }
}

/// The probability that the distance is below `d`, by the matrix of Marsaglia, Tsang and Wang (2003), after
/// Durbin.
fn below_by_matrix(n: u64, d: f64) -> f64 {
    let steps = n as f64 * d;
    let k = steps.ceil();
    let h = k - steps;
    let size = 2 * k as usize - 1;
    let mut factorial = vec![1.0; size + 1];
    for at in 1..=size {
        factorial[at] = factorial[at - 1] * at as f64;
    }
    let mut cells = vec![0.0; size * size];
    for row in 0..size {
        for column in 0..size.min(row + 2) {
            cells[row * size + column] = 1.0 / factorial[row + 1 - column];
        }
    }
    let power = |at: usize| h.powi(at as i32);
    let mut corner = 1.0 - 2.0 * power(size);
    if h > 0.5 {
        corner += (2.0 * h - 1.0).powi(size as i32);
    }
    for at in 0..size - 1 {
        let edge = (1.0 - power(at + 1)) / factorial[at + 1];
        cells[at * size] = edge;
        cells[(size - 1) * size + size - 1 - at] = edge;
    }
    cells[(size - 1) * size] = corner / factorial[size];

    let mut square = Scaled { size, cells, exponent: 0 };
    let mut result: Option<Scaled> = None;
    let mut left = n;
    while left > 0 {
        if left % 2 == 1 {
            result = Some(result.map_or_else(|| square.clone(), |result| result.times(&square)));
        }
        left /= 2;
        if left > 0 {
            square = square.times(&square);
        }
    }
    let Some(Scaled { cells, mut exponent, .. }) = result else { return 0.0 };
    // Times n! / n^n.
    let mut below = cells[size / 2 * (size + 1)];
    for i in 1..=n {
        below = below * i as f64 / n as f64;
        if below < 2f64.powi(-512) {
            below *= 2f64.powi(512);
            exponent -= 512;
        }
    }
    libm::ldexp(below, exponent)
}

/// The probability that the distance is below `d`, by the expansion of Pelz and Good (1976) to n^−3/2.
fn pelz_good(n: f64, d: f64) -> f64 {
    let z = n.sqrt() * d;
    let (z2, z4, z6, z8) = (z.powi(2), z.powi(4), z.powi(6), z.powi(8));
    let (p2, p4, p6) = (PI.powi(2), PI.powi(4), PI.powi(6));
    let (mut odd, mut all) = ([0.0; 4], [0.0; 2]);
    for k in (1..=(16.0 * z / PI).ceil() as u32).rev().map(f64::from) {
        let m2 = (2.0 * k - 1.0).powi(2);
        let weight = (-p2 * m2 / (8.0 * z2)).exp();
        odd[0] += weight;
        odd[1] += (p2 / 4.0 * m2 - z2) * weight;
        odd[2] += (6.0 * z6
            + 2.0 * z4
            + p2 / 4.0 * (2.0 * z4 - 5.0 * z2) * m2
            + p4 / 16.0 * (1.0 - 2.0 * z2) * m2 * m2)
            * weight;
        odd[3] += (-30.0 * z6 - 90.0 * z8
            + p2 / 4.0 * (135.0 * z4 - 96.0 * z6) * m2
            + p4 / 16.0 * (212.0 * z4 - 60.0 * z2) * m2 * m2
            + p6 / 64.0 * (5.0 - 30.0 * z2) * m2 * m2 * m2)
            * weight;
        let k2 = k * k;
        let weight = (-p2 * k2 / (2.0 * z2)).exp();
        all[0] += k2 * weight;
        all[1] += (3.0 * z2 - p2 * k2) * k2 * weight;
    }
    let root = (2.0 * PI).sqrt();
    let terms = [
        odd[0] / z,
        odd[1] / (6.0 * z4),
        odd[2] / (72.0 * z.powi(7)) - p2 * all[0] / (36.0 * z.powi(3)),
        odd[3] / (6480.0 * z.powi(10)) + p2 * all[1] / (216.0 * z6),
    ];
    terms.iter().rev().fold(0.0, |sum, term| sum / n.sqrt() + root * term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_scipy_in_every_range() {
        // scipy.stats.kstwo.sf(d, n) of scipy 1.17.1.
        for (n, d, expected) in CASES {
            let tail = kolmogorov_tail(n, d);
            let near = (tail - expected).abs() <= (1e-11 * expected).max(2e-13);
            assert!(near, "{n} {d}: {tail} {expected}");
        }
    }

    const CASES: [(u64, f64, f64); 128] = [
        (1, 0.6, 0.8),
        (1, 0.86, 0.28),
        (1, 0.7, 0.6000000000000001),
        (1, 0.6, 0.8),
        (2, 0.42426406871192845, 0.7570562748477142),
        (2, 0.6081118318204308, 0.30715267271827656),
        (2, 0.8485281374238569, 0.045887450304571954),
        (2, 0.9899494936611664, 0.00020202535533387045),
        (2, 0.5, 0.5),
        (2, 0.7, 0.18000000000000005),
        (2, 0.6, 0.32000000000000006),
        (2, 0.75, 0.125),
        (7, 0.17008401285415226, 0.9661890353198122),
        (7, 0.2267786838055363, 0.793238746671288),
        (7, 0.3401680257083045, 0.31741013497982784),
        (7, 0.4535573676110726, 0.07827268282790256),
        (7, 0.5631670647837486, 0.012742318488030745),
        (7, 0.7181324987175317, 0.00035525886999495293),
        (7, 0.09999999999999999, 0.9999899731574429),
        (7, 0.14285714285714285, 0.9938801009783339),
        (7, 0.5, 0.03839174153626465),
        (7, 0.6, 0.006140397691438094),
        (20, 0.06708203932499368, 0.9999223692438118),
        (20, 0.10062305898749054, 0.9748659764085577),
        (20, 0.1923018460649819, 0.3994539724026448),
        (20, 0.20124611797498107, 0.3454975529080021),
        (20, 0.3130495168499705, 0.030655906315259163),
        (20, 0.33317412864746865, 0.017603194019848),
        (20, 0.4583939353874568, 0.0002307081386604775),
        (20, 0.8944271909999159, 5.921672319663853e-20),
        (20, 0.05, 0.9999999767980384),
        (20, 0.06999999999999999, 0.9998196821043254),
        (20, 0.6, 2.0483011649719853e-07),
        (20, 0.975, 1.8189894035458887e-32),
        (139, 0.038168501835598695, 0.9828066679092897),
        (139, 0.050891335780798255, 0.8460427828420851),
        (139, 0.07633700367119739, 0.3738760262494096),
        (139, 0.10178267156159651, 0.10465971783449032),
        (139, 0.1263801505223157, 0.021485135729419992),
        (139, 0.16115589663919447, 0.0012739621244094855),
        (139, 0.33927557187198837, 8.839476718219146e-15),
        (139, 0.005035971223021582, 1.0),
        (139, 0.010071942446043165, 1.0),
        (139, 0.5, 1.1697343324885152e-32),
        (139, 0.9964028776978417, 0.0),
        (140, 0.025354627641855497, 0.9999736451248569),
        (140, 0.050709255283710994, 0.8461062544735598),
        (140, 0.07268326590665242, 0.4299733371347572),
        (140, 0.10141851056742199, 0.10468682507194148),
        (140, 0.11832159566199231, 0.03644183421402464),
        (140, 0.16057930839841814, 0.0012747445780697598),
        (140, 0.17325662221934587, 0.00038135991903148606),
        (140, 0.005, 1.0),
        (140, 0.007142857142857143, 1.0),
        (140, 0.5, 6.869300438276986e-33),
        (140, 0.6, 1.0052268370224967e-48),
        (141, 0.025264557631995567, 0.9999737264249865),
        (141, 0.037896836447993354, 0.9828404337900783),
        (141, 0.07242506521172064, 0.43004099712056565),
        (141, 0.07579367289598671, 0.37400402448477066),
        (141, 0.11790126894931265, 0.036454276766098026),
        (141, 0.12548063623891131, 0.02150089188616989),
        (141, 0.17264114381863638, 0.0003816398327973615),
        (141, 0.3368607684266076, 8.965618570567486e-15),
        (141, 0.0070921985815602835, 1.0),
        (141, 0.009929078014184396, 1.0),
        (141, 0.6, 4.550154415759682e-49),
        (141, 0.9964539007092199, 0.0),
        (500, 0.020124611797498106, 0.9850228832611387),
        (500, 0.026832815729997475, 0.8545433622007345),
        (500, 0.04024922359499621, 0.3826289366777734),
        (500, 0.05366563145999495, 0.10824335474199998),
        (500, 0.06663482572949372, 0.022506720282063228),
        (500, 0.084970583144992, 0.0013712625981535517),
        (500, 0.17888543819998318, 1.807353260422525e-14),
        (500, 0.5813776741499453, 5.4660134209456875e-161),
        (500, 0.002, 1.0),
        (500, 0.0028, 1.0),
        (500, 0.6, 1.1934763993433721e-172),
        (500, 0.999, 0.0),
        (5000, 0.006363961030678928, 0.9866671427425215),
        (5000, 0.00848528137423857, 0.8611745104587194),
        (5000, 0.012727922061357855, 0.38949567802063667),
        (5000, 0.01697056274847714, 0.11098122447398728),
        (5000, 0.021071782079359114, 0.02325248759007138),
        (5000, 0.026870057685088804, 0.0014364108459269866),
        (5000, 0.0565685424949238, 2.3874327925714957e-14),
        (5000, 0.18384776310850234, 2.184865623075122e-148),
        (5000, 0.0002, 1.0),
        (5000, 0.00028, 1.0),
        (5000, 0.6, 0.0),
        (5000, 0.9999, 0.0),
        (100000, 0.0014230249470757706, 0.9872454044918885),
        (100000, 0.0018973665961010274, 0.8635855357589762),
        (100000, 0.0028460498941515412, 0.3920039771559741),
        (100000, 0.003794733192202055, 0.11196588953063102),
        (100000, 0.004711793713650885, 0.0235128999881517),
        (100000, 0.00600832755431992, 0.0014576929129957808),
        (100000, 0.012649110640673516, 2.5088853169666164e-14),
        (100000, 0.04110960958218893, 2.771625730941217e-147),
        (100000, 1e-05, 1.0),
        (100000, 1.4e-05, 1.0),
        (100000, 0.6, 0.0),
        (100000, 0.999995, 0.0),
        (100001, 0.0014230178320043983, 0.9872454053195049),
        (100001, 0.0018973571093391975, 0.8635855392420047),
        (100001, 0.0028460356640087965, 0.3920039807847303),
        (100001, 0.003794714218678395, 0.11196589094928922),
        (100001, 0.004711770154859007, 0.0235129003602793),
        (100001, 0.006008297512907459, 0.0014576929428012353),
        (100001, 0.01264904739559465, 2.508885449531489e-14),
        (100001, 0.04110940403568261, 2.7716296150604627e-147),
        (100001, 9.99990000099999e-06, 1.0),
        (100001, 1.3999860001399985e-05, 1.0),
        (100001, 0.6, 0.0),
        (100001, 0.9999950000499995, 0.0),
        (500000, 0.0006363961030678928, 0.987336811942988),
        (500000, 0.000848528137423857, 0.8639708062346948),
        (500000, 0.0012727922061357855, 0.3924054629461228),
        (500000, 0.001697056274847714, 0.11212274689215374),
        (500000, 0.0021071782079359115, 0.02355399074834428),
        (500000, 0.0026870057685088804, 0.001460973133373699),
        (500000, 0.00565685424949238, 2.522760834530479e-14),
        (500000, 0.018384776310850236, 3.113215487885265e-147),
        (500000, 2e-06, 1.0),
        (500000, 2.8e-06, 1.0),
        (500000, 0.6, 0.0),
        (500000, 0.999999, 0.0),
    ];
}
