//! What the source brings: taken, numbered and kept, or dropped and counted.

use crate::config::Overflow;
use crate::ledger::{Position, RECENT_PACKETS_MAX};
use crate::source::{Arrival, Row, Step};
use crate::worker::commit::BATCH_FRAMES_MAX;
use crate::worker::task::Task;
use lineside_bundle::{BundleFile, Port};
use lineside_runtime::Reading;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Where the values of the route's readings stand in what a source brings.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Places {
    /// At the same places.
    Same,
    /// There.
    At(Vec<usize>),
    /// Not all of them are there.
    Missing,
}

/// A port that a source reads for, and what was found out of it.
#[derive(Debug)]
struct KnownPort {
    port: Arc<Port>,
    places: Arc<Places>,
}

/// What was found out of ports, by their names where there are several; for as long as the route takes the
/// same.
#[derive(Debug, Default)]
pub(super) struct KnownPorts(BTreeMap<Option<Arc<str>>, KnownPort>);

impl KnownPorts {
    fn places(&self, port: &Arc<Port>, feed: &Option<Arc<str>>) -> Option<Arc<Places>> {
        let known = self.0.get(feed)?;
        Arc::ptr_eq(&known.port, port).then(|| known.places.clone())
    }
}

impl Task {
    pub(super) fn takes_readings(&self) -> bool {
        if self.placed.is_none() || self.ending || self.draining.is_some() {
            return false;
        }
        if self.parts.ledger.is_full(&self.sinks) {
            return false;
        }
        if self.commits.frames() >= BATCH_FRAMES_MAX && !self.commits.has_no_disk(Instant::now()) {
            return false;
        }
        match self.parts.config.overflow {
            Overflow::Block => self.backlog() < self.parts.config.queue_readings_max,
            Overflow::DropOldest => true,
        }
    }

    pub(super) fn backlog(&self) -> usize {
        match &self.feed {
            Some(feed) => feed.backlog(),
            None => self.route.waiting(),
        }
    }

    pub(super) fn arrived(&mut self, arrival: Arrival) {
        let Arrival { port, feed, rows, dropped, step, receipt } = arrival;
        for (reason, count) in dropped {
            self.dropped(reason, count);
        }
        let places = match self.known_ports.places(&port, &feed) {
            Some(places) => places,
            None => {
                let places = Arc::new(self.places_in(&port, feed.as_deref()));
                let known = KnownPort { port, places: places.clone() };
                self.known_ports.0.insert(feed.clone(), known);
                places
            }
        };
        let accepted = self.record.counts.accepted;
        for mut row in rows {
            let values = match &*places {
                Places::Same => std::mem::take(&mut row.values),
                Places::At(places) => places.iter().map(|at| row.values[*at]).collect(),
                Places::Missing => {
                    self.dropped("port", 1);
                    continue;
                }
            };
            if let (Some(feed), true) = (&feed, self.route.is_joined()) {
                row.key = format!("{feed}/{}", row.key);
            }
            let captured = self.parts.capture.as_ref().map(|_| values.clone());
            let Some(sequence) = self.route.accept(&row.key, row.time_unix_ns, values) else {
                self.dropped("streams", 1);
                continue;
            };
            if let (Some(capture), Some(values)) = (&mut self.parts.capture, captured) {
                let Row { key, time_unix_ns, .. } = row;
                capture.reading(Reading { key, sequence, time_unix_ns, values });
            }
            self.record.counts.accepted += 1;
            if let Some(feed) = &mut self.feed {
                feed.accepted();
            }
            self.give_way();
        }
        if self.record.counts.accepted > accepted {
            self.flow.came(Instant::now());
        }
        match step {
            Some(Step::File { file, row, rows_before }) => {
                let position = self.position_of(feed.as_deref());
                (position.file, position.row, position.rows_before) = (file, row, rows_before);
            }
            Some(Step::Packet { identifier, digest }) => {
                let recent = &mut self.position_of(feed.as_deref()).recent;
                if recent.len() == RECENT_PACKETS_MAX {
                    recent.pop_front();
                }
                recent.push_back((identifier, digest));
            }
            Some(Step::End) => self.ending = true,
            None => {}
        }
        if let Some(receipt) = receipt {
            self.commits.receipt(receipt);
        }
        self.commits.touch();
    }

    /// How far a source has been read: that of a port, or the only one.
    fn position_of(&mut self, feed: Option<&str>) -> &mut Position {
        match feed {
            Some(feed) => self.record.positions.entry(feed.to_owned()).or_default(),
            None => &mut self.record.position,
        }
    }

    /// Where the values of the route's readings stand in those read for a port.
    fn places_in(&self, port: &Port, feed: Option<&str>) -> Places {
        let names: Vec<&str> = port.fields.iter().map(|field| field.name.as_str()).collect();
        match self.names_of(feed) {
            Some(wanted) if wanted == names => Places::Same,
            Some(wanted) => places(&names, &wanted).map_or(Places::Missing, Places::At),
            None => Places::Missing,
        }
    }

    /// The names of the values that readings have on the route: those of a port, or of the only one. None
    /// of a port that the release has not.
    fn names_of(&self, feed: Option<&str>) -> Option<Vec<&str>> {
        let fields = self.record.fields.iter().map(String::as_str);
        if !self.route.is_joined() {
            return Some(fields.collect());
        }
        let before = format!("{}.", feed?);
        let names: Vec<&str> = fields.filter_map(|name| name.strip_prefix(&before)).collect();
        (!names.is_empty()).then_some(names)
    }

    /// Drops the oldest readings where the settings say so.
    pub(super) fn give_way(&mut self) {
        let max = self.parts.config.queue_readings_max;
        if self.parts.config.overflow != Overflow::DropOldest || self.backlog() <= max {
            return;
        }
        if self.route.drop_oldest(self.feed.as_mut()) {
            self.dropped("overflow", 1);
        }
    }

    pub(super) fn dropped(&mut self, reason: &'static str, count: u64) {
        *self.record.counts.dropped.entry(reason.to_owned()).or_insert(0) += count;
        self.parts.witness.dropped(&self.parts.slot, reason, count);
        self.commits.touch();
    }

    /// Readings that are kept were read for another port: what is still there by name is moved to
    /// its place; readings that lack a field of the new port cannot be answered any more.
    ///
    /// Where several ports are joined, before or from now on, readings of other ports are another matter.
    pub(super) fn change_ports(&mut self, bundle: &BundleFile) {
        let was_joined = self.route.is_joined();
        let is_joined = bundle.inputs.len() > 1;
        self.route.set_joined(is_joined);
        self.record.is_joined = is_joined;
        self.known_ports = KnownPorts::default();
        let before = std::mem::replace(&mut self.record.fields, names(bundle));
        if (before == self.record.fields && was_joined == is_joined) || self.route.kept() == 0 {
            return;
        }
        let places = places(&before, &self.record.fields);
        match places.filter(|_| !was_joined && !is_joined) {
            Some(places) => {
                self.route.map_values(|values| places.iter().map(|at| values[*at]).collect())
            }
            None => {
                let rest = self.route.settle_rest("port", "its readings lack a field of the port");
                self.route.forget();
                rest.into_iter().for_each(|settled| self.account(settled));
            }
        }
    }
}

/// The names of the values of readings: of the port's fields, or `port.field` where there are several.
pub(super) fn names(bundle: &BundleFile) -> Vec<String> {
    let is_joined = bundle.inputs.len() > 1;
    let names = bundle.inputs.iter().flat_map(|(port, it)| {
        it.fields.iter().map(move |field| match is_joined {
            true => format!("{port}.{}", field.name),
            false => field.name.clone(),
        })
    });
    names.collect()
}

/// Where each of `wanted` stands in `names`; none if one is missing.
pub(super) fn places<T: PartialEq>(names: &[T], wanted: &[T]) -> Option<Vec<usize>> {
    wanted.iter().map(|name| names.iter().position(|other| other == name)).collect()
}
