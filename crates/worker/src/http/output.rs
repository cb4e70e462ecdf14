//! `/v1/sessions/{session}/output`: what a session's programs wrote last.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::extract::{Params, SessionPath};
#[cfg(test)]
use super::openapi::refusals::{InvalidRequest, UnknownOutput};
use super::{Api, ApiError};
use crate::errors::chain;
use crate::generator::output_dir;

/// Bytes of an answer: what a person would scroll through.
const OUTPUT_MAX_BYTES: u64 = 256 << 10;

/// Query of `GET /v1/sessions/{session}/output`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct OutputParams {
    /// Which stream.
    #[serde(default)]
    #[cfg_attr(test, param(inline))]
    stream: Stream,
}

/// One of a program's streams.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
enum Stream {
    /// The lines of the protocol.
    Stdout,
    /// What it says to people.
    #[default]
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    fn file_name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout.log",
            Self::Stderr => "stderr.log",
        }
    }
}

/// What a session's programs wrote last, as text; what is no UTF-8 is replaced.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/sessions/{session}/output", tag = "sessions",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c"), OutputParams),
    responses(
        (status = 200, description = "The last 256 KiB at most, from the beginning of a line.", body = String, content_type = "text/plain", example = "asked the model\n"),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownOutput),
    ),
))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
    Params(params): Params<OutputParams>,
) -> Result<Response, ApiError> {
    let dir = output_dir(api.doctor.layout.root(), session.id);
    let path = dir.join(params.stream.file_name());
    let read = tokio::task::spawn_blocking(move || last(&path)).await;
    let found = read.unwrap_or_else(|error| Err(error.into()));
    let bytes = found.map_err(|error| {
        let message = format!(
            "read the output of session {}: {}",
            session.id,
            chain(&error)
        );
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "output_unreadable",
            message,
        )
    })?;
    let Some(bytes) = bytes else {
        let message = format!(
            "no program of session {} wrote to {}",
            session.id,
            params.stream.name()
        );
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "unknown_output",
            message,
        ));
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((content_type, text).into_response())
}

/// The end of a file and of the earlier one that was put aside for it, as far as they are read;
/// from the beginning of a line, if something is left out. `None`: there is no file.
fn last(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".1");
    // A rotation between the two looks repeats something or leaves it out; it is for people.
    let present = tail(path, OUTPUT_MAX_BYTES)?;
    let read = present.as_ref().map_or(0, |(bytes, _)| bytes.len() as u64);
    let earlier = tail(&PathBuf::from(aside), OUTPUT_MAX_BYTES.saturating_sub(read))?;
    if present.is_none() && earlier.is_none() {
        return Ok(None);
    }
    let (mut bytes, is_earlier_cut) = earlier.unwrap_or_default();
    let (present, is_present_cut) = present.unwrap_or_default();
    bytes.extend(present);
    if (is_earlier_cut || is_present_cut)
        && let Some(end) = bytes.iter().position(|byte| *byte == b'\n')
    {
        bytes.drain(..=end);
    }
    Ok(Some(bytes))
}

/// At most so many bytes from a file's end, and whether it has more.
fn tail(path: &Path, max: u64) -> io::Result<Option<(Vec<u8>, bool)>> {
    let mut open = OpenOptions::new();
    open.read(true).custom_flags(libc::O_NOFOLLOW);
    let mut file = match open.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(max)))?;
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(Some((bytes, size > max)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn check(earlier: Option<&[u8]>, present: &[u8], want: &[u8]) {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("stderr.log");
        fs::write(&path, present).expect("write");
        if let Some(earlier) = earlier {
            fs::write(dir.path().join("stderr.log.1"), earlier).expect("write");
        }
        let found = last(&path).expect("readable").expect("a file");
        assert!(found == want, "{} bytes, not {}", found.len(), want.len());
    }

    #[test]
    fn output_goes_on_from_the_file_put_aside() {
        check(None, b"one\ntwo\n", b"one\ntwo\n");
        check(Some(b"zero\n"), b"one\n", b"zero\none\n");
    }

    #[test]
    fn long_output_is_cut_at_the_beginning_of_a_line() {
        let max = OUTPUT_MAX_BYTES as usize;
        let line = [b"x".repeat(9), b"\n".to_vec()].concat();
        let long = line.repeat(max / 10 + 10);
        let want = line.repeat(max / 10);
        check(None, &long, &want);
        let want_with_end = [line.repeat((max - 5) / 10), b"end!\n".to_vec()].concat();
        check(Some(&long), b"end!\n", &want_with_end);
        check(Some(b"zero\n"), &long, &want);
    }

    #[test]
    fn session_without_output_has_none() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("stderr.log");
        assert_eq!(last(&path).expect("no error"), None);
        // As it is in the middle of a rotation.
        fs::write(dir.path().join("stderr.log.1"), "zero\n").expect("write");
        assert_eq!(
            last(&path).expect("readable").as_deref(),
            Some(&b"zero\n"[..])
        );
    }
}
