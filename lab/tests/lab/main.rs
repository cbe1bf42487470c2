//! The lab as a whole: what it reads, what its figures are worth, and the program itself.

mod cli;
mod curves;
mod golden;
mod limits;
mod made;
mod readers;
