//! A record for people and for other programs: tables, a page, a test report. It measures nothing.

pub mod html;
pub mod junit;
pub mod table;
