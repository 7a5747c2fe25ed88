//! The suite for every protocol, on the one that does not replicate.

use consensus::Null;

consensus::conformance!(Null; alone);
