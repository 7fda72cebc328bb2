//! Hubble
