"""An AWS account for the tests, of moto's: `.tools/infra/bin/python tests/infra/account.py ENDPOINT prepare|look|drift`."""

from __future__ import annotations

import sys

import boto3

REGION = "eu-west-1"
STATE = "mbo-state"


class Account:
    """What boto3 does and sees there, with keys that mean nothing."""

    def __init__(self, endpoint: str) -> None:
        session = boto3.Session(aws_access_key_id="mock", aws_secret_access_key="mock", region_name=REGION)
        names = ("acm", "ec2", "ecs", "elbv2", "iam", "kms", "logs", "s3", "servicediscovery")
        self.of = {name: session.client(name, endpoint_url=endpoint) for name in names}

    def prepare(self) -> None:
        """Make what is there before Terraform: the bucket of the state, and a certificate, whose ARN is printed."""
        self.of["s3"].create_bucket(Bucket=STATE, CreateBucketConfiguration={"LocationConstraint": REGION})
        print(self.of["acm"].request_certificate(DomainName="books.example.com")["CertificateArn"])

    def look(self) -> None:
        """Print a line for each thing that Terraform made and that is still there, with routes of private subnets to anywhere."""
        ec2, ecs = self.of["ec2"], self.of["ecs"]
        for vpc in ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["false"]}])["Vpcs"]:
            print("vpc", vpc["CidrBlock"])
        for group in ec2.describe_security_groups()["SecurityGroups"]:
            if group["GroupName"] != "default":
                print("group", group["GroupName"])
        for table in ec2.describe_route_tables()["RouteTables"]:
            if any(tag["Value"].endswith("-private") for tag in table["Tags"]):
                print("private-routes", *sorted(route.get("DestinationCidrBlock", "-") for route in table["Routes"]))
        for balancer in self.of["elbv2"].describe_load_balancers()["LoadBalancers"]:
            print("balancer", balancer["LoadBalancerName"])
        for cluster in ecs.describe_clusters(clusters=ecs.list_clusters()["clusterArns"])["clusters"]:
            if cluster["status"] == "ACTIVE":  # what was deleted stays on the list for a while, as with AWS itself
                print("cluster", cluster["clusterName"])
                for service in ecs.list_services(cluster=cluster["clusterName"])["serviceArns"]:
                    print("service", service.rpartition("/")[2])
        for role in self.of["iam"].list_roles()["Roles"]:
            print("role", role["RoleName"])
        for group in self.of["logs"].describe_log_groups()["logGroups"]:
            print("log", group["logGroupName"])
        for space in self.of["servicediscovery"].list_namespaces()["Namespaces"]:
            print("namespace", space["Name"])
        for item in self.of["s3"].list_objects_v2(Bucket=STATE).get("Contents", ()):
            print("state", item["Key"])

    def drift(self) -> None:
        """Let the whole internet in by hand."""
        named = [{"Name": "group-name", "Values": ["mbo-dev-balancer"]}]
        (group,) = self.of["ec2"].describe_security_groups(Filters=named)["SecurityGroups"]
        self.of["ec2"].authorize_security_group_ingress(
            GroupId=group["GroupId"], IpProtocol="tcp", FromPort=443, ToPort=443, CidrIp="0.0.0.0/0"
        )


if __name__ == "__main__":
    account = Account(sys.argv[1])
    {"prepare": account.prepare, "look": account.look, "drift": account.drift}[sys.argv[2]]()
