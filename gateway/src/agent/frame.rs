//! Frames: a little-endian `u32` length and that many bytes of JSON.

use bytes::{Buf, BytesMut};
use defenseclaw_model::wire::{MAX_FRAME, ToAgent, ToGateway};

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A length over the limit, or zero.
    #[error("a frame of {0} bytes, which is not between 1 and {MAX_FRAME}")]
    Length(usize),
    /// The content is no frame that we know.
    #[error("a frame that is not understood: {0}")]
    Content(#[from] serde_json::Error),
}

/// Bytes in, frames out.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Where arriving bytes go.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole frame. A length is believed only as far as bytes have arrived: nothing is allocated for it.
    pub fn next_frame(&mut self) -> Result<Option<ToGateway>, FrameError> {
        let Some(head) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*head) as usize;
        if length == 0 || length > MAX_FRAME {
            return Err(FrameError::Length(length));
        }
        let Some(content) = self.buffer.get(4..4 + length) else {
            return Ok(None);
        };
        let frame = serde_json::from_slice(content)?;
        self.buffer.advance(4 + length);
        Ok(Some(frame))
    }

    /// Whether a frame has begun and is not whole.
    pub fn is_mid_frame(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// A frame as bytes.
pub fn encode(frame: &ToAgent) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, frame)?;
    let length = bytes.len() - 4;
    match u32::try_from(length) {
        Ok(head) if length <= MAX_FRAME => bytes[..4].copy_from_slice(&head.to_le_bytes()),
        _ => return Err(FrameError::Length(length)),
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::record::Binding;
    use proptest::prelude::*;

    use super::*;

    fn framed(frame: &ToGateway) -> Vec<u8> {
        let json = serde_json::to_vec(frame).unwrap();
        [&(json.len() as u32).to_le_bytes()[..], &json].concat()
    }

    fn decode(bytes: &[u8]) -> (Vec<ToGateway>, Result<(), FrameError>) {
        let mut decoder = Decoder::default();
        decoder.buffer().extend_from_slice(bytes);
        let mut frames = Vec::new();
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return (frames, Ok(())),
                Err(error) => return (frames, Err(error)),
            }
        }
    }

    #[test]
    fn lengths_out_of_range_are_refused_at_once() {
        for length in [0u32, MAX_FRAME as u32 + 1, u32::MAX] {
            let (frames, end) = decode(&length.to_le_bytes());
            assert!(
                frames.is_empty() && matches!(end, Err(FrameError::Length(_))),
                "{length}"
            );
        }
        let (_, end) = decode(&(MAX_FRAME as u32).to_le_bytes());
        assert!(end.is_ok(), "the largest may follow");
    }

    #[test]
    fn a_frame_over_the_limit_is_not_sent() {
        let session = "claude-code/s".parse().unwrap();
        let call = defenseclaw_model::call::CallDeclaration {
            call: defenseclaw_model::ids::CallId::new("c").unwrap(),
            tool: "x".repeat(MAX_FRAME),
            kind: defenseclaw_model::call::CallKind::Other,
            cwd: None,
            facts: Default::default(),
        };
        let frame = ToAgent::Register {
            request: 1,
            session,
            hook_pid: 1,
            call: Some(call),
            denied: false,
        };
        assert!(matches!(encode(&frame), Err(FrameError::Length(_))));
        assert_eq!(
            encode(&ToAgent::Ack { batch: 3 }).unwrap()[4..],
            *br#"{"frame":"ack","batch":3}"#
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn frames_come_out_as_they_went_in_however_they_arrive(
            requests in prop::collection::vec(any::<u64>(), 1..8),
            pieces in prop::collection::vec(1usize..60, 1..20),
        ) {
            let sent: Vec<_> = requests
                .iter()
                .map(|&request| ToGateway::Registered { request, binding: Binding::Bound })
                .collect();
            let bytes: Vec<u8> = sent.iter().flat_map(framed).collect();
            let (mut decoder, mut got, mut rest) = (Decoder::default(), Vec::new(), &bytes[..]);
            let mut sizes = pieces.iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                decoder.buffer().extend_from_slice(now);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    got.push(frame);
                }
                rest = later;
            }
            prop_assert_eq!(got, sent);
            prop_assert!(!decoder.is_mid_frame());
        }

        #[test]
        fn a_damaged_frame_never_panics(at in 0usize..80, byte in any::<u8>()) {
            let mut bytes = framed(&ToGateway::Registered { request: 1, binding: Binding::NoAgent });
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            let _ = decode(&bytes);
        }
    }
}
