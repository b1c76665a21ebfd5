//! The number of different values as bytes.

use super::{
    DISTINCT_EXACT_MAX, Distinct, INDEX_BITS, RANK_BITS, REGISTER_MAX, REGISTERS, State, TOP_BITS,
    key,
};
use crate::encoding::{BitReader, BitWriter, DecodeError, Parts, Reader, Writer};
use std::collections::BTreeSet;

/// Digits of a hash by which the few are in order, its register among them.
const ADDRESS_BITS: u32 = TOP_BITS + INDEX_BITS;
const ADDRESS_MAX: u64 = (1 << ADDRESS_BITS) - 1;
/// Registers in full: six digits each.
const REGISTER_BYTES: usize = REGISTERS / 4 * 3;
/// What stands for the number of hashes where there are registers: as differences, and in full.
const AS_DIFFERENCES: usize = DISTINCT_EXACT_MAX + 1;
const IN_FULL: usize = AS_DIFFERENCES + 1;
/// From here on a rank is written in full.
const LONG_RANK: u64 = 8;

/// Of few: how many, and then of each in rising order how far its address is from the one before (Rice's
/// code, with as many digits as follow from their number), and its rank less one as so many ones and a
/// zero, or as eight ones and six digits. Of many: 49, the least register, and by how much each is
/// above it (numbers); or 50 and registers of six digits, where that takes no more bytes.
///
/// Version 1: how many hashes, and these, eight bytes each; or 49 and registers of six digits.
impl Parts for Distinct {
    const KIND: u8 = 5;
    const VERSION: u8 = 2;

    fn write(&self, writer: &mut Writer) {
        self.write_beside(writer, &BTreeSet::new());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Distinct, DecodeError> {
        Distinct::read_beside(reader, &BTreeSet::new())
    }
}

impl Distinct {
    /// Writes it where some of the keys are known from elsewhere: of few only the others.
    pub(crate) fn write_beside(&self, writer: &mut Writer, known: &BTreeSet<u64>) {
        match &self.0 {
            State::Few(keys) => {
                let others: Vec<u64> = keys.difference(known).copied().collect();
                writer.number(others.len() as u64);
                write_keys(writer.bits(), &others);
            }
            State::Many(registers) => write_registers(writer, registers),
        }
    }

    /// Reads what was written beside these keys. Version 1 has written all of them.
    pub(crate) fn read_beside(
        reader: &mut Reader<'_>,
        known: &BTreeSet<u64>,
    ) -> Result<Distinct, DecodeError> {
        if reader.version() == 1 {
            return read_version_1(reader);
        }
        match reader.length(IN_FULL)? {
            AS_DIFFERENCES => {
                let registers = read_differences(reader)?;
                if differences(&registers).len() >= REGISTER_BYTES {
                    return Err(DecodeError::NotCanonical("registers that are shorter in full"));
                }
                of_registers(registers)
            }
            IN_FULL => {
                let registers = read_full(reader)?;
                if differences(&registers).len() < REGISTER_BYTES {
                    return Err(DecodeError::NotCanonical(
                        "registers that are not as short as they are",
                    ));
                }
                of_registers(registers)
            }
            length => {
                let mut keys = read_keys(reader, length)?;
                if !keys.is_disjoint(known) {
                    return Err(DecodeError::NotCanonical("a value that was there already"));
                }
                keys.extend(known);
                if keys.len() > DISTINCT_EXACT_MAX {
                    return Err(DecodeError::NotCanonical("more than few values"));
                }
                Ok(Distinct(State::Few(keys)))
            }
        }
    }

    /// What is kept of these hashes, where there are few.
    pub(crate) fn keys(hashes: impl Iterator<Item = u64>) -> BTreeSet<u64> {
        hashes.map(key).collect()
    }

    /// What is kept of each hash; none where there are many.
    pub(crate) fn few(&self) -> Option<&BTreeSet<u64>> {
        match &self.0 {
            State::Few(keys) => Some(keys),
            State::Many(_) => None,
        }
    }
}

/// Digits of a difference of so many addresses that are written in full: those of their mean, without its first.
fn digits(length: usize) -> u32 {
    (ADDRESS_MAX / (length as u64 + 1)).ilog2()
}

fn write_keys(mut bits: BitWriter<'_>, keys: &[u64]) {
    let mut before = 0;
    for key in keys {
        let (address, rank) = (key >> RANK_BITS, key % (1 << RANK_BITS));
        bits.rice(address - before, digits(keys.len()));
        before = address;
        if rank < LONG_RANK {
            bits.rice(rank, 0);
        } else {
            (0..LONG_RANK).for_each(|_| bits.push(true));
            bits.digits(rank, RANK_BITS);
        }
    }
    bits.finish();
}

fn read_keys(reader: &mut Reader<'_>, length: usize) -> Result<BTreeSet<u64>, DecodeError> {
    let (mut bits, mut keys, mut address) = (reader.bits(), BTreeSet::new(), 0);
    for _ in 0..length {
        address += bits.rice(digits(length), ADDRESS_MAX - address)?;
        let key = address << RANK_BITS | read_rank(&mut bits)?;
        if keys.last().is_some_and(|last| key <= *last) {
            return Err(DecodeError::NotCanonical("hashes out of order"));
        }
        keys.insert(key);
    }
    reader.pass(bits)?;
    Ok(keys)
}

fn read_rank(bits: &mut BitReader<'_>) -> Result<u64, DecodeError> {
    for rank in 0..LONG_RANK {
        if !bits.next()? {
            return Ok(rank);
        }
    }
    let rank = bits.digits(RANK_BITS)?;
    if !(LONG_RANK..u64::from(REGISTER_MAX)).contains(&rank) {
        return Err(DecodeError::NotCanonical("a rank of no hash"));
    }
    Ok(rank)
}

fn write_registers(writer: &mut Writer, registers: &[u8; REGISTERS]) {
    let differences = differences(registers);
    if differences.len() < REGISTER_BYTES {
        writer.number(AS_DIFFERENCES as u64);
        writer.bytes(&differences);
        return;
    }
    writer.number(IN_FULL as u64);
    for four in registers.as_chunks::<4>().0 {
        let [a, b, c, d] = four.map(u32::from);
        writer.bytes(&(a | b << 6 | c << 12 | d << 18).to_le_bytes()[..3]);
    }
}

/// The least register, and by how much each is above it.
fn differences(registers: &[u8; REGISTERS]) -> Vec<u8> {
    let least = registers.iter().copied().min().unwrap_or(0);
    let above: Vec<u64> = registers.iter().map(|register| u64::from(register - least)).collect();
    Writer::written(|writer| {
        writer.number(u64::from(least));
        writer.numbers(&above);
    })
}

fn read_differences(reader: &mut Reader<'_>) -> Result<Box<[u8; REGISTERS]>, DecodeError> {
    let least = reader.length(usize::from(REGISTER_MAX))? as u64;
    let above = reader.numbers(REGISTERS)?;
    if !above.contains(&0) {
        return Err(DecodeError::NotCanonical("registers above the least of them"));
    }
    let mut registers = Box::new([0; REGISTERS]);
    for (register, above) in registers.iter_mut().zip(above) {
        // No sum is near 64 digits.
        *register = u8::try_from(least + above).unwrap_or(u8::MAX);
    }
    Ok(registers)
}

fn read_full(reader: &mut Reader<'_>) -> Result<Box<[u8; REGISTERS]>, DecodeError> {
    let mut registers = Box::new([0; REGISTERS]);
    let fours = registers.as_chunks_mut::<4>().0.iter_mut();
    for (four, bytes) in fours.zip(reader.bytes(REGISTER_BYTES)?.chunks(3)) {
        let packed = bytes.iter().rev().fold(0u32, |packed, byte| packed << 8 | u32::from(*byte));
        *four = [0, 6, 12, 18].map(|shift| (packed >> shift & 63) as u8);
    }
    Ok(registers)
}

fn of_registers(registers: Box<[u8; REGISTERS]>) -> Result<Distinct, DecodeError> {
    if registers.iter().any(|register| *register > REGISTER_MAX) {
        return Err(DecodeError::NotCanonical("a register that no hash fills"));
    }
    if registers.iter().all(|register| *register == 0) {
        return Err(DecodeError::NotCanonical("registers that have seen nothing"));
    }
    Ok(Distinct(State::Many(registers)))
}

fn read_version_1(reader: &mut Reader<'_>) -> Result<Distinct, DecodeError> {
    let length = reader.length(DISTINCT_EXACT_MAX + 1)?;
    if length > DISTINCT_EXACT_MAX {
        return of_registers(read_full(reader)?);
    }
    let mut hashes = BTreeSet::new();
    for _ in 0..length {
        let hash = u64::from_le_bytes(reader.eight()?);
        if hashes.last().is_some_and(|last| hash <= *last) {
            return Err(DecodeError::NotCanonical("hashes out of order"));
        }
        hashes.insert(hash);
    }
    Ok(Distinct(State::Few(Distinct::keys(hashes.into_iter()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Sketch;
    use crate::hash::hash;
    use proptest::prelude::*;

    fn version_1(hashes: &BTreeSet<u64>, distinct: &Distinct) -> Vec<u8> {
        let mut bytes = vec![Distinct::KIND, 1];
        match &distinct.0 {
            State::Few(_) => {
                bytes.push(hashes.len() as u8);
                hashes.iter().for_each(|hash| bytes.extend(hash.to_le_bytes()));
            }
            State::Many(registers) => {
                bytes.push(49);
                for four in registers.as_chunks::<4>().0 {
                    let [a, b, c, d] = four.map(u32::from);
                    bytes.extend(&(a | b << 6 | c << 12 | d << 18).to_le_bytes()[..3]);
                }
            }
        }
        bytes
    }

    fn of(hashes: &BTreeSet<u64>) -> Distinct {
        let mut distinct = Distinct::default();
        hashes.iter().for_each(|hash| distinct.add_hash(*hash));
        distinct
    }

    /// Hashes as values have them, and such as none will ever have.
    fn hashes() -> impl Strategy<Value = BTreeSet<u64>> {
        let one = prop_oneof![
            8 => any::<u32>().prop_map(|value| hash(&value.to_le_bytes())),
            1 => (0u32..64, 0u64..512).prop_map(|(rank, low)| (1u64 << rank) << 9 | low),
            1 => Just(0u64),
            1 => (0u64..9).prop_map(|low| !low),
        ];
        prop::collection::btree_set(one, 0..90)
    }

    proptest! {
        #[test]
        fn what_was_written_before_merges_with_what_is_written_now(one in hashes(), other in hashes()) {
            let (a, b) = (of(&one), of(&other));
            let whole = of(&one.union(&other).copied().collect());
            let before = Distinct::decode(&version_1(&one, &a)).unwrap();
            prop_assert_eq!(&before, &a);
            for mut merged in [before, Distinct::decode(&a.encode()).unwrap()] {
                merged.merge(&Distinct::decode(&b.encode()).unwrap());
                prop_assert_eq!(&merged, &whole);
            }
        }

        #[test]
        fn it_never_takes_more_bytes_than_before(hashes in hashes()) {
            let distinct = of(&hashes);
            prop_assert!(distinct.encode().len() <= version_1(&hashes, &distinct).len());
        }

        #[test]
        fn what_is_read_would_be_written_alike(
            hashes in hashes(), at in any::<prop::sample::Index>(), byte: u8,
        ) {
            let mut bytes = of(&hashes).encode();
            let at = 2 + at.index(bytes.len() - 2);
            bytes[at] = byte;
            if let Ok(distinct) = Distinct::decode(&bytes) {
                prop_assert_eq!(distinct.encode(), bytes);
            }
        }
    }

    #[test]
    fn few_take_less_than_half_of_the_bytes_and_many_six_tenths() {
        let of = |values: u32| of(&(0..values).map(|value| hash(&value.to_le_bytes())).collect());
        let bytes = [0, 1, 2, 20, 48, 60, 100, 300, 1_000, 30_000, 1_000_000];
        let bytes = bytes.map(|values| of(values).encode().len());
        assert_eq!(bytes, [3, 7, 11, 75, 170, 82, 93, 131, 194, 220, 227]);
    }

    #[test]
    fn registers_that_would_take_more_as_differences_are_written_in_full() {
        let mut registers = Box::new([0; REGISTERS]);
        registers.iter_mut().step_by(2).for_each(|register| *register = REGISTER_MAX);
        let full = Distinct(State::Many(registers));
        let bytes = full.encode();
        assert_eq!((bytes.len(), bytes[2]), (3 + REGISTER_BYTES, 50));
        assert_eq!(Distinct::decode(&bytes), Ok(full));
        let mut shorter = bytes.clone();
        shorter[3..].fill(0);
        shorter[3] = 1;
        assert!(matches!(Distinct::decode(&shorter), Err(DecodeError::NotCanonical(_))));
    }
}
