//! Protobuf's wire format: numbered fields, each a number or bytes.

/// Reads the fields of one message.
pub(super) struct Reader<'a>(&'a [u8]);

/// One field's content.
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Why a message was not understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the body ends in the middle of a field")]
    Short,
    #[error("a field has another type than the kind says")]
    Type,
    #[error("a text is not UTF-8")]
    Text,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next field and its number; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, WireError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => Field::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::Short)?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Bytes(self.take(4)?),
            _ => return Err(WireError::Type),
        };
        Ok(Some((tag >> 3, field)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Type)
    }
}

// === impl Field ===

impl<'a> Field<'a> {
    pub(super) fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => Err(WireError::Type),
        }
    }

    pub(super) fn text(&self) -> Result<String, WireError> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Text)?;
        Ok(text.to_owned())
    }

    /// Negative numbers are written as their two's complement.
    pub(super) fn number(&self) -> Result<i64, WireError> {
        match self {
            Self::Number(number) => Ok(number.cast_signed()),
            Self::Bytes(_) => Err(WireError::Type),
        }
    }
}
