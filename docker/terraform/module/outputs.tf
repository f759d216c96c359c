output "balancer" {
  description = "Host name of the load balancer, for the DNS records of the two hosts."
  value       = aws_lb.this.dns_name
}

output "cluster" {
  description = "Name of the ECS cluster."
  value       = aws_ecs_cluster.this.name
}

output "image" {
  description = "What runs, by digest."
  value       = var.image
}

output "vpc" {
  description = "The VPC, and its private route table, for a way to the store."
  value       = { id = aws_vpc.this.id, private_route_table_id = aws_route_table.private.id }
}
