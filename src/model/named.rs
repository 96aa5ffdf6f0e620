//! Memory by name. A list of memory is a function that asks for each piece where it gives it its name, so a piece cannot get another's name;
//! it is asked twice, for the requests of a plan and for the buffers that were made for them.

use crate::gpu::{Buffer, BufferRequest};

/// What makes a buffer of a request, or hands out the one that was made for it.
pub(crate) type Make<'a> = &'a mut dyn FnMut(BufferRequest) -> Buffer;

/// What a list asks for, in its order.
pub(crate) fn requests_of(list: impl FnOnce(Make<'_>)) -> Vec<BufferRequest> {
    let mut requests = Vec::new();
    list(&mut |request| {
        let name = Buffer::planned(&request);
        requests.push(request);
        name
    });
    requests
}

/// Hands out the buffers `made` for [`requests_of`] a list, to that list.
///
/// # Panics
/// When another list asks.
pub(crate) fn handed_out(made: Vec<Buffer>) -> impl FnMut(BufferRequest) -> Buffer {
    let mut made = made.into_iter();
    move |request| match made.next() {
        Some(buffer) if buffer.label() == request.label && buffer.size() == request.bytes => buffer,
        other => unreachable!("{other:?} was made, {request:?} is asked for"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(make: Make<'_>) -> [Buffer; 2] {
        [make(BufferRequest::storage("keys", 64)), make(BufferRequest::storage("values", 64))]
    }

    #[test]
    fn a_list_is_asked_for_requests_and_then_gets_what_was_made_for_them() {
        let requests = requests_of(|make| _ = list(make));
        let made: Vec<_> = requests.iter().map(Buffer::planned).collect();
        let [keys, values] = list(&mut handed_out(made.clone()));
        assert_eq!([keys, values].as_slice(), made);
    }

    #[test]
    fn neighbours_of_one_size_are_not_swapped_unseen() {
        let mut made: Vec<_> = requests_of(|make| _ = list(make)).iter().map(Buffer::planned).collect();
        made.reverse();
        assert!(std::panic::catch_unwind(|| list(&mut handed_out(made))).is_err());
    }
}
