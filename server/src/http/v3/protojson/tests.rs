//! What is read and written, by the rules of the module.

use bytes::Bytes;

use super::*;

enumeration! {
    /// An enumeration.
    Color as SortOption {
        /// The default.
        Red = "RED",
        /// Another.
        Green = "GREEN",
    }
}

message! {
    /// A message of everything.
    Sample {
        /// Of 64 bits.
        signed: i64 = "signed_number" | "signedNumber",
        /// Without a sign.
        unsigned: u64 = "ID",
        /// Of 32 bits.
        short: u32 = "short",
        /// A truth.
        truth: bool = "truth",
        /// Bytes.
        bytes: Bytes = "bytes",
        /// A text.
        text: String = "text",
        /// A choice.
        color: Color = "color",
        /// A list.
        list: Vec<Sample> = "list",
        /// A list of bytes.
        keys: Vec<Bytes> = "keys",
        /// One of two.
        number: Option<i64> = "number",
        /// The other.
        nested: Option<Inner> = "nested",
    }
    one of { number, nested }
}

message! {
    /// A message in a message.
    Inner {
        /// A choice.
        colors: Vec<Color> = "colors",
    }
}

#[track_caller]
fn read(text: &str) -> Sample {
    decode(text.as_bytes()).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[track_caller]
fn error(text: &str) -> String {
    let found: Result<Sample, _> = decode(text.as_bytes());
    found.expect_err(text).to_string()
}

fn written(sample: &Sample) -> String {
    let mut out = Vec::new();
    sample.write(&mut out);
    String::from_utf8(out).expect("JSON is text")
}

#[test]
fn nothing_and_null_are_an_empty_message() {
    for text in ["", " \r\n\t", "null", " null ", "{}", " { } "] {
        assert_eq!(read(text), Sample::default(), "{text:?}");
    }
}

#[test]
fn a_field_is_read_by_its_own_name_or_in_camel_case_and_by_no_other() {
    assert_eq!(read(r#"{"signed_number":5}"#).signed, 5);
    assert_eq!(read(r#"{"signedNumber":5}"#).signed, 5);
    assert_eq!(read(r#"{"ID":5}"#).unsigned, 5);
    assert_eq!(read(r#"{"signed":5,"id":5,"SIGNED_NUMBER":5}"#), Sample::default());
    assert_eq!(read(r#"{"sh\u006Frt":5}"#).short, 5);
}

#[test]
fn null_is_as_good_as_not_given() {
    let nulls = r#"{"signed_number":null,"ID":null,"truth":null,"bytes":null,"text":null,
        "color":null,"list":null,"keys":null,"number":null,"nested":null,"other":null}"#;
    assert_eq!(read(nulls), Sample::default());
    assert_eq!(read(r#"{"number":null,"number":4,"nested":null}"#).number, Some(4));
}

#[test]
fn numbers_may_be_strings_and_whole_numbers_may_have_a_point_or_an_exponent() {
    for (text, number) in [
        ("7", 7),
        ("\"7\"", 7),
        ("-7", -7),
        ("\"-7\"", -7),
        ("0", 0),
        ("-0", 0),
        ("7.0", 7),
        ("1e3", 1000),
        ("\"12.5e1\"", 125),
        ("9223372036854775807", i64::MAX),
        ("\"-9223372036854775808\"", i64::MIN),
    ] {
        assert_eq!(read(&format!("{{\"signed_number\":{text}}}")).signed, number, "{text}");
    }
    assert_eq!(read(r#"{"ID":"18446744073709551615"}"#).unsigned, u64::MAX);
    for wrong in [
        "9223372036854775808",
        "1.5",
        "1e300",
        "\"\"",
        "\" 7\"",
        "\"+7\"",
        "07",
        "\"07\"",
        "0x7",
        "7.",
        ".7",
        "-",
        "1e",
        "true",
        "[7]",
        "\"seven\"",
    ] {
        error(&format!("{{\"signed_number\":{wrong}}}"));
    }
    assert!(error(r#"{"ID":-1}"#).contains("not negative"));
    error(r#"{"short":4294967296}"#);
}

#[test]
fn bytes_are_base64_of_either_alphabet_with_or_without_padding() {
    let bytes = |text: &str| read(&format!("{{\"bytes\":{text}}}")).bytes;
    for text in ["\"+/+/\"", "\"-_-_\"", "\"\\u002B\\/+/\""] {
        assert_eq!(&bytes(text)[..], b"\xfb\xff\xbf", "{text}");
    }
    for text in ["\"YQ==\"", "\"YQ\"", "\"YR==\"", "\"Y\\nQ=\\r\\n=\""] {
        assert_eq!(&bytes(text)[..], b"a", "{text}");
    }
    assert_eq!(&bytes("\"\"")[..], b"");
    for wrong in ["\"Y\"", "\"Y Q\"", "\"+-+-\"", "\"Y===\"", "\"\u{e9}\"", "7", "[\"YQ==\"]"] {
        assert!(error(&format!("{{\"bytes\":{wrong}}}")).contains("base64"), "{wrong}");
    }
}

#[test]
fn an_enumeration_is_an_exact_name_or_a_number_and_has_an_error_of_its_own() {
    for (text, color) in [("\"GREEN\"", Color::Green), ("1", Color::Green), ("0", Color::Red)] {
        assert_eq!(read(&format!("{{\"color\":{text}}}")).color, color);
    }
    for wrong in ["\"green\"", "2", "-1", "\"1\"", "9", "1.5", "true", "99999999999999999999"] {
        let text = format!("{{\"color\":{wrong}}}");
        let error = decode::<Sample>(text.as_bytes()).expect_err(wrong);
        assert!(wrong == "true" || error.kind == ReadErrorKind::SortOption, "{wrong}");
    }
    assert!(error(r#"{"color":"BLUE"}"#).contains("RED, GREEN"));
}

#[test]
fn what_nobody_knows_is_skipped_if_it_is_json() {
    let text =
        r#"{"a":{"b":[1,-2.5e-3,"x\"}]",true,false,null,{}]},"ID":1,"c":[[]],"d":"\ud83d\ude00"}"#;
    assert_eq!(read(text).unsigned, 1);
    for wrong in ["{\"a\":}", "{\"a\":tru}", "{\"a\":[1 2]}", "{\"a\":{1}}", "{\"a\":nul}"] {
        error(wrong);
    }
}

#[test]
fn nothing_is_given_twice() {
    assert!(
        error(r#"{"signed_number":1,"signedNumber":1}"#).contains("`signedNumber` is given twice")
    );
    assert!(error(r#"{"ID":0,"ID":0}"#).contains("given twice"));
    let error = error(r#"{"number":0,"nested":{}}"#);
    assert!(error.contains("only one of number, nested may be given"), "{error}");
}

#[test]
fn null_is_no_element() {
    assert!(error(r#"{"list":[null]}"#).contains("no element"));
    assert!(error(r#"{"keys":["YQ==",null]}"#).contains("no element"));
}

#[test]
fn an_error_says_where() {
    for (text, message) in [
        ("{\"ID\":x}", "line 1, column 7: a number is expected, not `x}`"),
        ("{\n \"ID\": 1,\n \"text\": 7}", "line 3, column 10: a string is expected, not `7}`"),
        (
            "{\"ID\":1",
            "line 1, column 8: the body ends where a comma or the end of the object is \
                       expected",
        ),
        ("{\"ID\":1}}", "line 1, column 9: nothing more may stand here"),
        ("[]", "line 1, column 1: an object is expected, not `[]`"),
        ("{\"text\":\"a", "line 1, column 11: the body ends within a string"),
        (
            "{\"text\":\"a\nb\"}",
            "line 1, column 11: a control character in a string must be escaped",
        ),
        ("{\"text\":\"\\x\"}", "line 1, column 10: there is no such escape sequence"),
        (
            "{\"text\":\"\\ud800\"}",
            "line 1, column 10: `\\u` is followed by no character in \
                                   hexadecimal",
        ),
        (
            "{\"text\":\"\u{e9}\" \"",
            "line 1, column 14: a comma or the end of the object is expected, not \
                                `\\\"`",
        ),
    ] {
        assert_eq!(error(text), message, "{text}");
    }
    let error = decode::<Sample>(b"{\"text\":\"\xff\"}").expect_err("not UTF-8").to_string();
    assert_eq!(error, "line 1, column 10: this is not UTF-8");
    let long = format!("{{\"ID\":{}}}", "x".repeat(1000));
    assert!(super::tests::error(&long).len() < 120);
}

#[test]
fn strings_have_all_escapes() {
    let text = read(r#"{"text":"\"\\\/\b\f\n\r\tA\u00e9\uD83D\uDE00é"}"#).text;
    assert_eq!(text, "\"\\/\u{8}\u{c}\n\r\tA\u{e9}\u{1f600}\u{e9}");
}

#[test]
fn depth_and_length_are_bounded() {
    let nested = |depth: usize| "{\"a\":[".repeat(depth / 2) + &"]}".repeat(depth / 2);
    read(&nested(DEPTH_MAX));
    assert!(error(&nested(DEPTH_MAX + 2)).contains("64 levels"));
    let list = |count: usize| format!("{{\"list\":[{}]}}", vec!["{}"; count].join(","));
    assert_eq!(read(&list(ELEMENTS_MAX)).list.len(), ELEMENTS_MAX);
    assert!(error(&list(ELEMENTS_MAX + 1)).contains("10000 elements"));
    // All lists together, those that nobody knows, too.
    let lists = format!("{{\"list\":[{}],\"a\":[1]}}", vec!["{}"; ELEMENTS_MAX].join(","));
    assert!(error(&lists).contains("10000 elements"));
}

#[test]
fn what_is_zero_or_empty_is_left_out_but_for_a_oneof() {
    assert_eq!(written(&Sample::default()), "{}");
    let zero = Sample { number: Some(0), ..Sample::default() };
    assert_eq!(written(&zero), r#"{"number":"0"}"#);
    let empty = Sample { nested: Some(Inner::default()), ..Sample::default() };
    assert_eq!(written(&empty), r#"{"nested":{}}"#);
}

#[test]
fn what_is_there_is_written_by_its_own_name_and_read_again() {
    let sample = Sample {
        signed: -5,
        unsigned: u64::MAX,
        short: 7,
        truth: true,
        bytes: Bytes::from_static(b"\xfb\xff\xbf\x00"),
        text: "a\"\n\u{e9}".to_owned(),
        color: Color::Green,
        list: vec![Sample::default(), Sample { number: Some(3), ..Sample::default() }],
        keys: vec![Bytes::new(), Bytes::from_static(b"a")],
        number: None,
        nested: Some(Inner { colors: vec![Color::Red, Color::Green] }),
    };
    let text = written(&sample);
    assert_eq!(
        text,
        "{\"signed_number\":\"-5\",\"ID\":\"18446744073709551615\",\"short\":7,\"truth\":true,\
         \"bytes\":\"+/+/AA==\",\"text\":\"a\\\"\\n\u{e9}\",\"color\":\"GREEN\",\"list\":[{},\
         {\"number\":\"3\"}],\"keys\":[\"\",\"YQ==\"],\"nested\":{\"colors\":[\"RED\",\"GREEN\"]}}"
    );
    assert_eq!(read(&text), sample);
    let least = Sample { signed: i64::MIN, ..Sample::default() };
    assert_eq!(read(&written(&least)), least);
}
