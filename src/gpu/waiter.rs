//! Who waits for the device natively: one thread, so that whoever polls a future never stands still.
//!
//! The GPU library runs its callbacks only inside a call that asks the device how far it is. In the browser the event loop sees to that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::GpuError;

/// What is to be done when a submit has run, or when waiting for it has failed, with the reason.
type OnDone = Box<dyn FnOnce(Result<(), String>) + Send>;

/// A thread that waits for submits, in the order in which it was asked to.
pub(super) struct Waiter {
    /// Taken when the thread is to end.
    asked: Option<Sender<(wgpu::SubmissionIndex, OnDone)>>,
    thread: Option<JoinHandle<()>>,
}

impl Waiter {
    pub(super) fn new(device: &wgpu::Device) -> Result<Self, GpuError> {
        let (asked, waits) = channel();
        let device = device.clone();
        let thread = thread::Builder::new()
            .name("killick-waiter".to_owned())
            .spawn(move || wait_for_all(&device, &waits))
            .map_err(|error| GpuError::Device { message: format!("no thread to wait for it: {error}") })?;
        Ok(Self { asked: Some(asked), thread: Some(thread) })
    }

    /// Lets the library's callbacks run that belong to `submission` as soon as it has run, then `on_done`.
    pub(super) fn wait(&self, submission: wgpu::SubmissionIndex, on_done: OnDone) {
        let Some(asked) = &self.asked else { unreachable!("taken only when it is dropped") };
        if let Err(unheard) = asked.send((submission, on_done)) {
            let (_, on_done) = unheard.0;
            on_done(Err("the thread that waits for it has ended".to_owned()));
        }
    }
}

fn wait_for_all(device: &wgpu::Device, waits: &Receiver<(wgpu::SubmissionIndex, OnDone)>) {
    for (submission, on_done) in waits {
        let until = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        // The library panics where the device is lost while it waits. Then all who wait still have to hear of it.
        let waited = catch_unwind(AssertUnwindSafe(|| device.poll(until)));
        on_done(match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the device was lost while it was waited for".to_owned()),
        });
    }
}

/// The device goes when the last one who holds it does: not behind the back of a program that ends.
impl Drop for Waiter {
    fn drop(&mut self) {
        self.asked = None;
        let Some(thread) = self.thread.take() else { return };
        // The last one may be a task that this very thread has woken.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            log::error!("the thread that waits for the device has panicked");
        }
    }
}
