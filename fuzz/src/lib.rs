//! What the fuzz targets share.

pub mod bytes;
pub mod fuse;
pub mod kinds;
pub mod loading;
pub mod model;
pub mod run;
pub mod settings;
