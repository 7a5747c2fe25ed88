//! protobuf's JSON, both ways, as etcd's gateway speaks it.
//!
//! A message is a struct made by [`message!`], an enumeration by [`enumeration!`]. Each field has the name
//! that the `.proto` file gives it; it is read by that name or by its lowerCamelCase, and written by
//! that name alone.
//!
//! # Read
//! - 64-bit integers as numbers or as strings of digits; `1.0` and `1e3` are whole numbers, too.
//! - Enumerations by exact name or by number.
//! - Bytes as base64, of the standard or of the URL alphabet, with or without padding.
//! - `null` is as good as not given, and so is a body that is empty or `null`; but not in a list.
//! - Fields that nobody knows are skipped. A field, or two members of a `oneof`, given twice is an error.
//!
//! # Written
//! - Zero, `false` and what is empty is left out; but not the member of a `oneof` that is set.
//! - 64-bit integers are strings, bytes are standard base64, enumerations are names.
//!
//! # Bounds
//! Objects and lists are nested at most [`DEPTH_MAX`] deep, and all lists of a body together have at most
//! [`ELEMENTS_MAX`] elements, because an element of two bytes becomes a struct of hundreds.
//!
//! It is not serde, for three reasons: that takes a list for a struct, has `null` and a missing field be
//! different things, and knows no `oneof` of which only one may be given.

mod reader;
mod scalar;
#[cfg(test)]
mod tests;

pub(crate) use reader::{ReadError, ReadErrorKind, Reader};

/// How deep objects and lists may be nested.
pub(crate) const DEPTH_MAX: usize = 64;
/// How many elements the lists of a body may have, all together.
pub(crate) const ELEMENTS_MAX: usize = 10_000;

/// Something that JSON of this kind says.
pub(crate) trait Json: Sized {
    /// Reads it. What stands there is not `null`.
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError>;

    /// Whether it is left out of a message.
    fn is_default(&self) -> bool;

    /// Appends it.
    fn write(&self, out: &mut Vec<u8>);
}

/// Reads a whole message.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn decode<M: Json + Default>(bytes: &[u8]) -> Result<M, ReadError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ReadError::at(bytes, error.valid_up_to(), "this is not UTF-8".to_owned())
    })?;
    let mut reader = Reader::new(text);
    if reader.is_at_end() {
        return Ok(M::default());
    }
    let message = if reader.null()? { M::default() } else { M::read(&mut reader)? };
    match reader.is_at_end() {
        true => Ok(message),
        false => Err(reader.error("nothing more may stand here".to_owned())),
    }
}

/// An object that is being written.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Begins an object.
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Writes a field, unless it is left out.
    pub(crate) fn field(&mut self, name: &str, value: &impl Json) {
        if !value.is_default() {
            value.write(self.name(name));
        }
    }

    /// Writes the name of a field whose value the caller appends.
    pub(crate) fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// Ends the object.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// Makes a message: a struct, read from and written as an object.
macro_rules! message {
    (
        $(#[$about:meta])*
        $name:ident {
            $($(#[$field_about:meta])* $field:ident: $type:ty = $proto:literal $(| $camel:literal)?,)*
        }
        $(one of { $first:ident, $($other:ident),+ $(,)? })?
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub(crate) struct $name {
            $($(#[$field_about])* pub(crate) $field: $type,)*
        }

        impl $crate::http::v3::protojson::Json for $name {
            fn read(
                reader: &mut $crate::http::v3::protojson::Reader<'_>,
            ) -> Result<Self, $crate::http::v3::protojson::ReadError> {
                #[allow(unused_mut, reason = "a message may have no fields")]
                let mut message = Self::default();
                $(let mut $field = false;)*
                reader.object(|reader, name| {
                    let _ = name;
                    $(if name == $proto $(|| name == $camel)? {
                        if reader.null()? {
                            return Ok(());
                        }
                        if std::mem::replace(&mut $field, true) {
                            return Err(reader.twice(name));
                        }
                        message.$field = $crate::http::v3::protojson::Json::read(reader)?;
                        return Ok(());
                    })*
                    reader.skip()
                })?;
                $({
                    let given = [$first, $($other),+];
                    if given.iter().filter(|given| **given).count() > 1 {
                        let members = [stringify!($first), $(stringify!($other)),+];
                        return Err(reader.too_many_of(&members));
                    }
                })?
                Ok(message)
            }

            fn is_default(&self) -> bool {
                false
            }

            fn write(&self, out: &mut Vec<u8>) {
                #[allow(unused_mut, reason = "a message may have no fields")]
                let mut object = $crate::http::v3::protojson::Object::begin(out);
                $(object.field($proto, &self.$field);)*
                object.end();
            }
        }
    };
}

/// Makes an enumeration, whose first value is number 0 and the default.
macro_rules! enumeration {
    (
        $(#[$about:meta])*
        $name:ident as $kind:ident {
            $(#[$first_about:meta])* $first:ident = $first_proto:literal
            $(, $(#[$value_about:meta])* $value:ident = $proto:literal)* $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) enum $name {
            $(#[$first_about])* #[default] $first,
            $($(#[$value_about])* $value,)*
        }

        impl $name {
            const ALL: &[Self] = &[Self::$first, $(Self::$value),*];
            const NAMES: &[&str] = &[$first_proto, $($proto),*];
        }

        impl $crate::http::v3::protojson::Json for $name {
            fn read(
                reader: &mut $crate::http::v3::protojson::Reader<'_>,
            ) -> Result<Self, $crate::http::v3::protojson::ReadError> {
                let kind = $crate::http::v3::protojson::ReadErrorKind::$kind;
                reader.choice(Self::NAMES, kind).map(|number| Self::ALL[number])
            }

            fn is_default(&self) -> bool {
                *self == Self::default()
            }

            fn write(&self, out: &mut Vec<u8>) {
                out.push(b'"');
                out.extend_from_slice(Self::NAMES[*self as usize].as_bytes());
                out.push(b'"');
            }
        }
    };
}

pub(crate) use {enumeration, message};
