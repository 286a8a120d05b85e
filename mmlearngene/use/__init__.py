"""What users do: load an ancestry, extract, initialize, plan, probe, export."""
