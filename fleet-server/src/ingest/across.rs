//! What was stored of many devices at once: the same few queries however many there are.

use crate::error::Error;
use crate::ingest::Telemetry;
use crate::ingest::stored::{EventShown, Totals, event_shown, totals_shown};
use crate::registry::Names;
use crate::store::from_row;
use crate::store::tables::{device, event, received, stock, total};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use std::collections::BTreeMap;

/// Records of a device that were odd and are stored nevertheless.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Odd {
    /// Those whose number had been used before for something else.
    pub conflicting: u64,
    /// Those whose body could not be read.
    pub unreadable: u64,
}

impl Telemetry {
    /// Sums by device and slot.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn totals(
        &self,
        names: Names<'_>,
    ) -> Result<BTreeMap<String, BTreeMap<String, Totals>>, Error> {
        let rows = total::Entity::find()
            .filter(total::Column::Device.between(names.first, names.last))
            .all(self.store.read())
            .await?;
        let mut totals: BTreeMap<String, BTreeMap<String, Totals>> = BTreeMap::new();
        for row in rows {
            let slots = totals.entry(row.device.clone()).or_default();
            slots.insert(row.slot.clone(), totals_shown(&row));
        }
        Ok(totals)
    }

    /// Records whose numbers were skipped, by device, over all starts that are kept track of. Each
    /// start counts its records from 0.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn missing(&self, names: Names<'_>) -> Result<BTreeMap<String, u64>, Error> {
        let rows = received::Entity::find()
            .filter(received::Column::Device.between(names.first, names.last))
            .order_by_asc(received::Column::Device)
            .order_by_asc(received::Column::Boot)
            .order_by_asc(received::Column::First)
            .all(self.store.read())
            .await?;
        let mut next: BTreeMap<(String, i64), i64> = BTreeMap::new();
        let mut missing: BTreeMap<String, u64> = BTreeMap::new();
        for row in rows {
            let expected = next.entry((row.device.clone(), row.boot)).or_insert(0);
            let skipped = from_row(row.first.saturating_sub(*expected));
            *expected = row.last.saturating_add(1);
            let count = missing.entry(row.device).or_insert(0);
            *count = count.saturating_add(skipped);
        }
        Ok(missing)
    }

    /// Records that were odd, by device.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn odd(&self, names: Names<'_>) -> Result<BTreeMap<String, Odd>, Error> {
        let rows = stock::Entity::find()
            .filter(stock::Column::Device.between(names.first, names.last))
            .all(self.store.read())
            .await?;
        let odd = |row: &stock::Model| Odd {
            conflicting: from_row(row.conflicting),
            unreadable: from_row(row.unreadable),
        };
        Ok(rows.into_iter().map(|row| (row.device.clone(), odd(&row))).collect())
    }

    /// The newest event of each device.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn newest_events(
        &self,
        names: Names<'_>,
    ) -> Result<BTreeMap<String, EventShown>, Error> {
        // One step into the index for each device; grouping would walk over every event of each.
        let newest = Query::select()
            .expr(Expr::col((event::Entity, event::Column::Id)).max())
            .from(event::Entity)
            .and_where(
                Expr::col((event::Entity, event::Column::Device))
                    .equals((device::Entity, device::Column::Name)),
            )
            .take();
        let of_each = Query::select()
            .expr(Expr::SubQuery(None, Box::new(newest.into())))
            .from(device::Entity)
            .and_where(
                Expr::col((device::Entity, device::Column::Name)).between(names.first, names.last),
            )
            .take();
        let rows = event::Entity::find()
            .filter(event::Column::Id.in_subquery(of_each))
            .all(self.store.read())
            .await?;
        Ok(rows.into_iter().map(|row| (row.device.clone(), event_shown(row))).collect())
    }
}
