# moto answers that an ECS service has no such period, whatever it was told.
resource "aws_ecs_service" "this" {
  lifecycle {
    ignore_changes = [health_check_grace_period_seconds]
  }
}
