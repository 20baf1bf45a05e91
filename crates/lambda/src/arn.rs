//! Function ARNs: `arn:aws:lambda:REGION:ACCOUNT:function:NAME` (RT-18).

use std::fmt;

use crate::id::FunctionName;

/// The account where the deployment names none: the one of AWS's own examples.
pub const DEFAULT_ACCOUNT: &str = "123456789012";

/// The unqualified ARN of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionArn {
    region: String,
    account: String,
    name: FunctionName,
}

// === impl FunctionArn ===

impl FunctionArn {
    /// The ARN of `name` in a region and account.
    pub fn new(region: &str, account: &str, name: FunctionName) -> Self {
        Self { region: region.to_owned(), account: account.to_owned(), name }
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The account.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The function's name.
    pub fn name(&self) -> &FunctionName {
        &self.name
    }

    /// `aws`, or what stands there in regions with a partition of their own.
    pub fn partition(&self) -> &'static str {
        match self.region.split('-').next() {
            Some("cn") => "aws-cn",
            _ if self.region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }
}

impl fmt::Display for FunctionArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, account, name } = self;
        write!(f, "arn:{}:lambda:{region}:{account}:function:{name}", self.partition())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_the_region() {
        let arn = |region| {
            FunctionArn::new(region, "111122223333", FunctionName::parse("crow").unwrap()).to_string()
        };
        assert_eq!(arn("us-east-1"), "arn:aws:lambda:us-east-1:111122223333:function:crow");
        assert_eq!(arn("cn-north-1"), "arn:aws-cn:lambda:cn-north-1:111122223333:function:crow");
        assert_eq!(arn("us-gov-west-1"), "arn:aws-us-gov:lambda:us-gov-west-1:111122223333:function:crow");
    }
}
