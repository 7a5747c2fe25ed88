//! What the layers above rely on, whoever is below: the suite that both protocols run.

use consensus_zab::Zab;

consensus::conformance!(Zab);
