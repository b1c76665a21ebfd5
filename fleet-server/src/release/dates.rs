//! What people have signed holds for a time. They are told when that is past, and some time before.

use crate::error::Error;
use crate::release::SignedDocuments;
use crate::release::kept::Kind;
use lineside_trust::{TrustError, verify_delegated, verify_releases};
use time::{Duration, OffsetDateTime};

/// How long before a date is past people are told of it.
const WARNED: Duration = Duration::days(30);

impl SignedDocuments {
    /// What of all that people have signed holds no longer, or not for long any more, a sentence each.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn dates_trouble(&self, now: OffsetDateTime) -> Result<Vec<String>, Error> {
        let Some(row) = self.kept.newest(Kind::Releases).await? else { return Ok(vec![]) };
        let (root, soon) = (self.root().await?, now + WARNED);
        let list = match verify_releases(&root, &row.bytes, None, now) {
            Ok(list) => list,
            Err(error) => {
                return Ok(vec![format!(
                    "no list of releases holds, so nothing can be assigned, and devices install nothing \
                     new: {error}. What runs goes on. Next: {}",
                    next_of(&error)
                )]);
            }
        };
        let mut sentences = Vec::new();
        let mut soon_over = |error: TrustError| {
            sentences.push(format!(
                "in less than {} days nothing new will be installed: {error}. Next: {}",
                WARNED.whole_days(),
                next_of(&error)
            ));
        };
        verify_releases(&root, &row.bytes, None, soon).err().map(&mut soon_over);
        let mut lapsed = Vec::new();
        for role in list.delegates() {
            let Some(row) = self.kept.newest(Kind::Role(role)).await? else { continue };
            match verify_delegated(&list, role, &row.bytes, None, now) {
                Err(error) => lapsed.push(format!(
                    "what {role} has signed holds no longer, and his releases wait until he signs anew: \
                     {error}"
                )),
                Ok(_) => {
                    let holds = verify_delegated(&list, role, &row.bytes, None, soon);
                    if let Err(error) = holds {
                        lapsed.push(format!(
                            "in less than {} days what {role} has signed will hold no longer: {error}",
                            WARNED.whole_days()
                        ));
                    }
                }
            }
        }
        sentences.extend(lapsed);
        Ok(sentences)
    }
}

/// What people do where a document holds no longer.
fn next_of(error: &TrustError) -> &'static str {
    match error {
        TrustError::Expired { document: "root", .. } => {
            "`lineside keys draft --from keys/root.json`, signed by enough root keys, and `lineside keys \
             publish`"
        }
        _ => "`lineside release` with any bundle that is released signs the list anew",
    }
}
