//! A mirror and a shelf in memory, for documents that are at hand already.

use super::error::Fault;
use super::link::{Mirror, Shelf};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A mirror of documents that were carried here, by the names that they have on one.
#[derive(Debug, Clone, Default)]
pub struct Carried(BTreeMap<String, Vec<u8>>);

impl FromIterator<(String, Vec<u8>)> for Carried {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(documents: I) -> Carried {
        Carried(documents.into_iter().collect())
    }
}

impl Mirror for Carried {
    fn fetch(&self, name: &str, _: u64) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.0.get(name).cloned())
    }
}

/// A shelf that lasts no longer than the program: for who judges documents and does not follow them.
#[derive(Debug, Clone, Default)]
pub struct InMemory(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Shelf for InMemory {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        let documents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(documents.get(name).cloned())
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let mut documents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        documents.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}
