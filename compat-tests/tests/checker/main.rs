//! The checker is checked: it finds each kind of fault, in histories made by hand and by a model broker that is broken on
//! purpose, and finds nothing in what a good broker does.

mod by_hand;
mod log;
mod model;
mod random;
mod workload;
