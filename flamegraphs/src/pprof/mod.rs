//! pprof: the gzip'd protobuf that `go tool pprof`, Pyroscope and others read. Fields: google/pprof, profile.proto.

mod read;
mod wire;
mod write;

pub(crate) use read::is_gzip;
pub use read::read;
pub use write::write;
