//! Errors as JavaScript sees them: an `Error` whose message holds the whole chain of causes, and whose `code` says what to do.

use std::error::Error as _;

use js_sys::{Error as JsErrorObject, Reflect};
use killick::Error;
use killick::generate::GenerateError;
use killick::gpu::GpuError;
use killick::session::SessionError;
use killick::tokenizer::TokenizerError;
use wasm_bindgen::JsValue;

/// Anything that went wrong on the way.
pub(crate) enum Fault {
    /// The engine's own.
    Engine(Error),
    /// An argument that is not what it should be.
    Option(String),
}

impl<E: Into<Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Engine(error.into())
    }
}

impl Fault {
    /// An argument is wrong, as `message` says.
    pub(crate) fn option(message: impl Into<String>) -> Self {
        Self::Option(message.into())
    }

    /// The codes are those of `ErrorCode` in `web/killick/index.d.ts`.
    fn code(&self) -> &'static str {
        match self {
            Self::Option(_) => "bad-option",
            Self::Engine(error) => code(error),
        }
    }

    fn message(&self) -> String {
        let error = match self {
            Self::Option(message) => return message.clone(),
            Self::Engine(error) => error,
        };
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        message
    }
}

impl From<Fault> for JsValue {
    fn from(fault: Fault) -> Self {
        let error = JsErrorObject::new(&fault.message());
        // An object that was just made takes any property.
        let _ = Reflect::set(&error, &"code".into(), &fault.code().into());
        error.into()
    }
}

fn code(error: &Error) -> &'static str {
    match error {
        Error::Gpu(error) => of_device(error),
        // The weights are at fault, not what was asked.
        Error::ModelFile(_) | Error::Load(_) | Error::Session(SessionError::NonFiniteLogits { .. }) => {
            "bad-model"
        }
        Error::Generate(GenerateError::UnknownStop { .. } | GenerateError::LostSteps { .. }) => "crashed",
        Error::Tokenizer(error) => match error {
            TokenizerError::Missing { .. } | TokenizerError::NoChatTemplate { .. } => "bad-option",
            _ => "bad-model",
        },
        Error::Plan(_) => "out-of-memory",
        _ => "bad-option",
    }
}

fn of_device(error: &GpuError) -> &'static str {
    match error {
        GpuError::NoAdapter | GpuError::NoSuchAdapter { .. } | GpuError::NoDevice { .. } => "no-adapter",
        GpuError::Lost { .. } => "device-lost",
        GpuError::Allocation { .. } => "out-of-memory",
        // Browsers report a buffer that could not be made in the same way as a fault of this library.
        GpuError::Device { message } if message.to_lowercase().contains("memory") => "out-of-memory",
        GpuError::BindingLimit { .. } | GpuError::NoF16 { .. } => "bad-option",
        _ => "crashed",
    }
}
