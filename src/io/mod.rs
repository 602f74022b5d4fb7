//! Devices: the only folder, with `runtime`, that touches the kernel.

pub mod clock;
