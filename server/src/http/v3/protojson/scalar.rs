//! Numbers, bytes, texts, lists.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::Bytes;

use super::reader::number_length;
use super::{Json, ReadError, Reader};
use crate::http::json;

/// Padding may be there or not, and what it leaves over may be anything.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD_ALPHABET: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_ALPHABET: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
/// Up to here every whole number is a float, and no two are the same.
const FLOAT_WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Reads an integer, given as a number or as a string with one.
fn integer<T: TryFrom<i128>>(reader: &mut Reader<'_>, what: &str) -> Result<T, ReadError> {
    let begin = reader.place();
    let text = if reader.is_string() { reader.string()? } else { Cow::Borrowed(reader.number()?) };
    parse_integer(&text).and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        reader.return_to(begin);
        reader.expected(what)
    })
}

/// A whole number in JSON's notation.
fn parse_integer(text: &str) -> Option<i128> {
    if number_length(text) != Some(text.len()) {
        return None;
    }
    if let Ok(number) = text.parse::<i128>() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    let whole = number.fract() == 0.0 && number.abs() <= FLOAT_WHOLE_MAX;
    #[allow(clippy::cast_possible_truncation, reason = "it is whole and within the bounds")]
    whole.then_some(number as i128)
}

macro_rules! integers {
    ($($type:ty, $what:literal, $quoted:literal;)*) => {
        $(impl Json for $type {
            fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
                integer(reader, $what)
            }

            fn is_default(&self) -> bool {
                *self == 0
            }

            fn write(&self, out: &mut Vec<u8>) {
                let quote: &[u8] = if $quoted { b"\"" } else { b"" };
                out.extend_from_slice(quote);
                #[allow(unused_comparisons, reason = "some of the types have no sign")]
                if *self < 0 {
                    out.push(b'-');
                }
                json::number(out, u64::from(self.abs_diff(0)));
                out.extend_from_slice(quote);
            }
        })*
    };
}

integers! {
    i64, "an integer of 64 bits", true;
    u64, "an integer of 64 bits that is not negative", true;
    u32, "an integer of 32 bits that is not negative", false;
}

impl Json for bool {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        reader.boolean()
    }

    fn is_default(&self) -> bool {
        !self
    }

    fn write(&self, out: &mut Vec<u8>) {
        json::boolean(out, *self);
    }
}

impl Json for Bytes {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let begin = reader.place();
        if !reader.is_string() {
            return Err(reader.expected("a string of base64"));
        }
        let text = reader.string()?;
        decode_base64(&text).ok_or_else(|| {
            reader.return_to(begin);
            reader.expected("a string of base64")
        })
    }

    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        let begin = out.len();
        let length = base64::encoded_len(self.len(), true).expect("far less than all memory");
        out.resize(begin + length, 0);
        let written = STANDARD.encode_slice(self, &mut out[begin..]);
        assert!(written == Ok(length), "base64 is as long as it was computed");
        out.push(b'"');
    }
}

fn decode_base64(text: &str) -> Option<Bytes> {
    // Programs that break lines are as welcome as those that do not.
    let text = match text.contains(['\n', '\r']) {
        true => Cow::Owned(text.replace(['\n', '\r'], "")),
        false => Cow::Borrowed(text),
    };
    let engine = if text.contains(['-', '_']) { &URL_ALPHABET } else { &STANDARD_ALPHABET };
    engine.decode(text.as_bytes()).ok().map(Bytes::from)
}

impl Json for String {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        reader.string().map(Cow::into_owned)
    }

    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        json::string(out, self);
    }
}

/// A member of a `oneof`, or a message that may be missing: left out when it is not there, and only then.
impl<T: Json> Json for Option<T> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        T::read(reader).map(Some)
    }

    fn is_default(&self) -> bool {
        self.is_none()
    }

    fn write(&self, out: &mut Vec<u8>) {
        let value = self.as_ref().expect("what is not there is left out");
        value.write(out);
    }
}

impl<T: Json> Json for Vec<T> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let mut list = Self::new();
        reader.list(|reader| {
            if reader.null()? {
                return Err(reader.error("`null` is no element of a list".to_owned()));
            }
            list.push(T::read(reader)?);
            Ok(())
        })?;
        Ok(list)
    }

    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (place, element) in self.iter().enumerate() {
            out.push(if place == 0 { b'[' } else { b',' });
            element.write(out);
        }
        out.push(b']');
    }
}
