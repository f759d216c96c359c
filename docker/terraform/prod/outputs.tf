output "mbo" {
  description = "What DNS, peerings and people need to know."
  value       = module.mbo
}
