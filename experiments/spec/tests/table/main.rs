//! Tables from records to text, through the public functions alone.

mod cells;
mod figures;
mod fixture;
mod orders;
mod printed;
mod properties;
