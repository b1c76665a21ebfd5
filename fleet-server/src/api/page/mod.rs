//! The pages: devices, their releases, what they measured and what happened. Rendered here, read
//! with any browser, asked for again every few seconds.

mod alerts;
mod device;
mod devices;
mod html;
mod releases;
mod rollouts;
mod routes;
mod words;

pub(super) use routes::router;
