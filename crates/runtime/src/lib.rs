//! Runs a bundle: `Reading -> Frame -> Prediction -> Finding`, the same on a device, at the desk
//! and in tests. Reads files and the time a frame takes; knows no network.

mod agreement;
mod check;
mod choose;
mod cost;
mod engine;
mod files;
mod pipeline;
mod plugin;
mod recorded;
mod recording;
mod replay;
mod serving;
mod tensor;

pub use self::engine::{
    Declared, Dimension, ENGINE_NAMES, ENGINES, Engine, EngineError, Engines, Loader, ModelFacts,
    Objection, OnnxModel, Onnxruntime, Operator, Reason, Refusal, SharedLibrary, Unfit, fit,
    in_engine_thread, is_contained, unfit,
};
pub use agreement::{Agreed, Agreement, Difference, Disagreement};
pub use check::{
    CheckError, CheckOutcome, CheckReport, ExpectedFinding, record, record_watched, run_checks,
    run_checks_patiently, run_checks_watched,
};
pub use choose::{Choice, Figure, Measured, are_engines, choices, faster, models, runners, time};
pub use cost::ReplayCost;
pub use files::{Files, FilesError, MemoryFiles, StoreFiles};
pub use pipeline::{
    Before, Fault, FrameError, FrameOutcome, Instead, LoadError, LoadOptions, Part, Pipeline,
    PluginCall, Reading, ReadingRef, Said, Span, StandIn, Unused, Value, Values, check_fit,
    is_same_key, profile,
};
pub use plugin::{
    CompiledPlugin, Instance, NOT_RUN, PluginCache, PluginError, Results, Sandbox, SandboxError,
    SandboxLimits,
};
pub use recorded::{Expected, check_recordings};
pub use recording::{
    KEYS_MAX, RecordedRow, Recording, RecordingError, RowError, Rows, Sequencer, Table, columns,
    parse_time,
};
pub use replay::{Replay, finish};
pub use serving::{Models, Offer, Offered, ServeError, ServingBounds};
pub use tensor::{BytesError, Data, ELEMENTS_MAX, Element, Port, PortError, Tensor};
