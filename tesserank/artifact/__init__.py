"""The artefact: what an export leaves behind and a server serves. Immutable, named by its content, versioned."""
