//! Flags that take the name of a fault.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::cluster::Fault;

/// Takes the name of any fault; the help says what each is.
pub(super) fn fault_parser() -> impl TypedValueParser<Value = Fault> {
    let names = Fault::ALL.map(|fault| PossibleValue::new(fault.name()).help(fault.what()));
    PossibleValuesParser::new(names).map(|name| {
        let named = Fault::ALL.into_iter().find(|fault| fault.name() == name);
        named.expect("only names of faults are possible")
    })
}
