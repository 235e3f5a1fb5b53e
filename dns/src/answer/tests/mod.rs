//! Whole replies: tables by RFC section, and the rows of the failure classes that concern the
//! answer path. Every reply that a test asks for passes the oracle in [`world`].

mod adversarial;
mod checked;
mod cookies;
mod explained;
mod tables;
mod world;
