//! finack's sans-IO TCP and UDP engine.
