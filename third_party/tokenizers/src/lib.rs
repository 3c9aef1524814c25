//! The C interface of Hugging Face's tokenizers that src/tokenize/hf_tokenizer.cc uses; its declarations are
//! src/tokenize/hf_tokenizers_c.h. Why: a tokenizer.json means what this crate makes of it, and nothing else does.
//! Threads: a handle is immutable, any thread. Ownership: what `*_open` and the lists give is freed by `*_close` and
//! `*_free`. No panic leaves: each function answers with an error instead.
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::slice;
use std::sync::OnceLock;

use tokenizers::Tokenizer;

pub struct Handle {
    tokenizer: Tokenizer,
    // Reads "<|im_start|>" in a text as text. A copy, because the crate keeps that choice in the tokenizer; made when
    // it is first asked for.
    literal: OnceLock<Tokenizer>,
}

/// Bytes or ids given to the caller, who frees them.
#[repr(C)]
pub struct List<T> {
    data: *mut T,
    size: usize,
}

impl<T> List<T> {
    fn of(values: Vec<T>) -> Self {
        let boxed = values.into_boxed_slice();
        let size = boxed.len();
        List { data: Box::into_raw(boxed) as *mut T, size }
    }
    fn free(self) {
        if !self.data.is_null() {
            // SAFETY: made by `of` from a boxed slice of that size.
            drop(unsafe { Box::from_raw(slice::from_raw_parts_mut(self.data, self.size)) });
        }
    }
}

fn text<'a>(data: *const u8, size: usize) -> Result<&'a str, String> {
    if size == 0 {
        return Ok("");
    }
    // SAFETY: the caller gives a valid range.
    std::str::from_utf8(unsafe { slice::from_raw_parts(data, size) }).map_err(|_| "the text is not UTF-8".to_string())
}

/// Runs `work`; its error, or a panic, becomes bytes in `error` and false.
fn guarded(error: *mut List<u8>, work: impl FnOnce() -> Result<(), String>) -> bool {
    let failure = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return true,
        Ok(Err(message)) => message,
        Err(_) => "the tokenizers crate panicked".to_string(),
    };
    // SAFETY: the caller gives a place for it.
    unsafe { *error = List::of(failure.into_bytes()) };
    false
}

/// From the bytes of a tokenizer.json. Null on failure, with `error` set.
#[no_mangle]
pub extern "C" fn sluice_hf_open(json: *const u8, size: usize, error: *mut List<u8>) -> *mut Handle {
    let mut handle = std::ptr::null_mut();
    guarded(error, || {
        // SAFETY: the caller gives a valid range.
        let bytes = unsafe { slice::from_raw_parts(json, size) };
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|e| e.to_string())?;
        // What a server tokenizes it does not cut or fill up, whatever the file was saved with.
        tokenizer.with_truncation(None).map_err(|e| e.to_string())?;
        tokenizer.with_padding(None);
        handle = Box::into_raw(Box::new(Handle { tokenizer, literal: OnceLock::new() }));
        Ok(())
    });
    handle
}

/// # Safety
/// `handle` is from sluice_hf_open and is not used again.
#[no_mangle]
pub unsafe extern "C" fn sluice_hf_close(handle: *mut Handle) {
    if !handle.is_null() {
        drop(Box::from_raw(handle));
    }
}

/// # Safety
/// Valid pointers.
#[no_mangle]
pub unsafe extern "C" fn sluice_hf_encode(
    handle: *const Handle,
    data: *const u8,
    size: usize,
    add_special: bool,
    parse_special: bool,
    out: *mut List<u32>,
    error: *mut List<u8>,
) -> bool {
    let handle = &*handle;
    guarded(error, || {
        let tokenizer = if parse_special {
            &handle.tokenizer
        } else {
            handle.literal.get_or_init(|| {
                let mut copy = handle.tokenizer.clone();
                copy.set_encode_special_tokens(true);
                copy
            })
        };
        // The fast way keeps no offsets.
        let encoding = tokenizer.encode_fast(text(data, size)?, add_special).map_err(|e| e.to_string())?;
        *out = List::of(encoding.get_ids().to_vec());
        Ok(())
    })
}

/// For tokenize_bench: encodes `rounds` times without leaving Rust, and gives the ids' number.
///
/// # Safety
/// Valid pointers.
#[no_mangle]
pub unsafe extern "C" fn sluice_hf_encode_rounds(handle: *const Handle, data: *const u8, size: usize, rounds: usize) -> usize {
    let tokenizer = &(*handle).tokenizer;
    let Ok(text) = text(data, size) else { return 0 };
    (0..rounds).map(|_| tokenizer.encode_fast(text, false).map_or(0, |encoding| encoding.get_ids().len())).sum()
}

/// # Safety
/// Valid pointers.
#[no_mangle]
pub unsafe extern "C" fn sluice_hf_decode(
    handle: *const Handle,
    ids: *const u32,
    count: usize,
    skip_special: bool,
    out: *mut List<u8>,
    error: *mut List<u8>,
) -> bool {
    let handle = &*handle;
    guarded(error, || {
        let ids = if count == 0 { &[][..] } else { slice::from_raw_parts(ids, count) };
        *out = List::of(handle.tokenizer.decode(ids, skip_special).map_err(|e| e.to_string())?.into_bytes());
        Ok(())
    })
}

/// The vocabulary's own spelling of a token, which is not its text. False when there is no such token.
///
/// # Safety
/// Valid pointers.
#[no_mangle]
pub unsafe extern "C" fn sluice_hf_token(handle: *const Handle, id: u32, out: *mut List<u8>) -> bool {
    match (*handle).tokenizer.id_to_token(id) {
        Some(token) => {
            *out = List::of(token.into_bytes());
            true
        }
        None => false,
    }
}

/// One more than the largest id.
///
/// # Safety
/// A valid handle.
#[no_mangle]
pub unsafe extern "C" fn sluice_hf_vocab_size(handle: *const Handle) -> u32 {
    let tokenizer = &(*handle).tokenizer;
    tokenizer.get_vocab(true).values().max().map_or(0, |id| id + 1)
}

/// The added tokens, one record each: id, flags (1 special, 2 normalized, 4 single word), bytes of its text (u32,
/// little-endian), then these.
///
/// # Safety
/// Valid pointers.
#[no_mangle]
pub unsafe extern "C" fn sluice_hf_added(handle: *const Handle, out: *mut List<u8>) {
    let mut records = Vec::new();
    for (id, token) in (*handle).tokenizer.get_added_tokens_decoder() {
        let flags = u32::from(token.special) | u32::from(token.normalized) << 1 | u32::from(token.single_word) << 2;
        for number in [id, flags, token.content.len() as u32] {
            records.extend_from_slice(&number.to_le_bytes());
        }
        records.extend_from_slice(token.content.as_bytes());
    }
    *out = List::of(records);
}

/// # Safety
/// From this library, freed once.
#[no_mangle]
pub unsafe extern "C" fn sluice_hf_free_ids(list: List<u32>) {
    list.free();
}

/// # Safety
/// From this library, freed once.
#[no_mangle]
pub unsafe extern "C" fn sluice_hf_free_bytes(list: List<u8>) {
    list.free();
}
