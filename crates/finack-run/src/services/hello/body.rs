//! Bodies whose length is known before their first byte, so that every response has a Content-Length.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::services::content::Content;

/// What a response carries.
pub(super) struct Body {
    left: u64,
    source: Source,
}

enum Source {
    Text(Bytes),
    Stream(Content),
}

impl Body {
    pub(super) fn text(text: String) -> Self {
        Self { left: text.len() as u64, source: Source::Text(text.into()) }
    }

    pub(super) fn stream(content: Content) -> Self {
        Self { left: content.remaining(), source: Source::Stream(content) }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = match &mut self.source {
            Source::Text(text) => Some(std::mem::take(text)).filter(|t| !t.is_empty()),
            Source::Stream(content) => content.next(),
        };
        if let Some(chunk) = &chunk {
            self.left -= chunk.len() as u64;
        }
        Poll::Ready(chunk.map(|c| Ok(Frame::data(c))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
