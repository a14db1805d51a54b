"""What every member of a family must do, as functions: the contract tests and ``npnet check`` run the same laws."""
