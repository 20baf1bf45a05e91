//! Containers in a Docker engine, for machines where real isolation is wanted (`tm local start --runner docker`).
