"""Names of nets and their parts."""
