//! What can go wrong on a device.

/// An error of the GPU room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// There is no adapter at all.
    #[error(
        "no GPU adapter found; install a Vulkan, Metal or DX12 driver (a software one on Debian: apt install mesa-vulkan-drivers)"
    )]
    NoAdapter,
    /// No adapter has this index or name.
    #[error("no GPU matches {wanted:?}; there are: {available}")]
    NoSuchAdapter {
        /// What was asked for.
        wanted: String,
        /// Index and name of each adapter.
        available: String,
    },
    /// Several adapters have this in their names.
    #[error("{wanted:?} is a part of several GPUs' names; say more of it, or its index: {available}")]
    AmbiguousAdapter {
        /// What was asked for.
        wanted: String,
        /// Index and name of each adapter.
        available: String,
    },
    /// The adapter refused to make a device.
    #[error("adapter {adapter:?} gives no device: {message}")]
    NoDevice {
        /// Name of the adapter.
        adapter: String,
        /// The driver's words.
        message: String,
    },
    /// Products in 16-bit floats were asked for and cannot be had.
    #[error("16-bit products (f16 on) cannot be had of adapter {adapter:?}: {why}")]
    NoF16 {
        /// Name of the adapter.
        adapter: String,
        /// What is missing.
        why: &'static str,
    },
    /// The binding limit asked for is above what the adapter offers or too small to be of use.
    #[error(
        "a binding limit of {asked} bytes is outside {least} to {most}, the limits of adapter {adapter:?}"
    )]
    BindingLimit {
        /// The limit asked for.
        asked: u64,
        /// The smallest useful limit.
        least: u64,
        /// The adapter's limit.
        most: u64,
        /// Name of the adapter.
        adapter: String,
    },
    /// A buffer could not be made.
    #[error("no room for {what} ({bytes} bytes) on the device: {message}")]
    Allocation {
        /// Label of the buffer, or of the batch.
        what: String,
        /// Its size.
        bytes: u64,
        /// The driver's words.
        message: String,
    },
    /// A range does not lie in its buffer.
    #[error("{bytes} bytes at offset {offset} do not fit buffer {buffer:?} of {size} bytes")]
    OutOfRange {
        /// Label of the buffer.
        buffer: String,
        /// First byte.
        offset: u64,
        /// Length of the range.
        bytes: u64,
        /// Size of the buffer.
        size: u64,
    },
    /// A buffer of another device, or one that was only planned.
    #[error("buffer {buffer:?} has no memory on this device that can be used so")]
    NotHere {
        /// Label of the buffer.
        buffer: String,
    },
    /// A kernel was given memory of the wrong kind, or none.
    #[error("kernel {kernel} wants {wanted} where it was given {buffer:?}, which is {usage}")]
    WrongBinding {
        /// Name of the implementation.
        kernel: &'static str,
        /// Label of the buffer.
        buffer: String,
        /// What the buffer is for.
        usage: String,
        /// How the kernel accesses it.
        wanted: String,
    },
    /// Nothing computes an op on what lies so.
    #[error("no implementation of {op} reads {wanted}")]
    NoImplementation {
        /// The op.
        op: &'static str,
        /// The layout.
        wanted: String,
    },
    /// A kernel was given the wrong things.
    #[error("kernel {kernel}: {what} is {got}, it needs {need}")]
    Shape {
        /// Name of the kernel.
        kernel: &'static str,
        /// Which argument.
        what: &'static str,
        /// What it was.
        got: u64,
        /// What it should have been, or its bound.
        need: u64,
    },
    /// A read whose buffer was settled for another before it was taken.
    #[error("the read of {buffer:?} was given up for a later one")]
    ReadGivenUp {
        /// Label of the buffer.
        buffer: String,
    },
    /// The device reported an error outside any call that waits for one.
    #[error("the device reports: {message}")]
    Device {
        /// The driver's words.
        message: String,
    },
    /// The device is gone: driver reset, unplugged, destroyed.
    #[error("the device was lost ({reason}); make a new one and load the model again")]
    Lost {
        /// The driver's words.
        reason: String,
    },
}

impl GpuError {
    /// Whether the device is at fault (not there, lost, out of memory) rather than what it was asked for.
    pub fn is_device(&self) -> bool {
        matches!(
            self,
            Self::NoAdapter
                | Self::NoDevice { .. }
                | Self::Lost { .. }
                | Self::Allocation { .. }
                | Self::Device { .. }
        )
    }
}
