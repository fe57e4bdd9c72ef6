"""The edges to AWS: DynamoDB, SNS, SQS."""
