//! Who waits for the device natively: one thread, so that whoever polls a future never stands still.
//!
//! The GPU library runs its callbacks only inside a call that asks the device how far it is. In the browser the event loop sees to that.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::GpuError;

/// What is to be done when waiting has failed, with the reason.
type OnError = Box<dyn FnOnce(String) + Send>;

/// A thread that waits for submits, in the order in which it was asked to.
pub(super) struct Waiter {
    /// Taken when the thread is to end.
    asked: Option<Sender<(wgpu::SubmissionIndex, OnError)>>,
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

    /// Lets the callbacks run that belong to `submission`, as soon as it has.
    pub(super) fn wait(&self, submission: wgpu::SubmissionIndex, on_error: OnError) {
        let Some(asked) = &self.asked else { unreachable!("taken only when it is dropped") };
        if let Err(unheard) = asked.send((submission, on_error)) {
            let (_, on_error) = unheard.0;
            on_error("the thread that waits for it has ended".to_owned());
        }
    }
}

fn wait_for_all(device: &wgpu::Device, waits: &Receiver<(wgpu::SubmissionIndex, OnError)>) {
    for (submission, on_error) in waits {
        let until = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        if let Err(error) = device.poll(until) {
            on_error(error.to_string());
        }
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
