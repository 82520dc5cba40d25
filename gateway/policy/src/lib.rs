//! Rego decisions through regorus behind one type.
