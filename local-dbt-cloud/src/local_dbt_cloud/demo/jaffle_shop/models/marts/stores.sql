with

stores as (

    select * from {{ ref('stg_stores') }}

),

orders as (

    select * from {{ ref('orders') }}

),

sales as (

    select
        store_id,
        count(*) as order_count,
        count(distinct customer_id) as customer_count,
        sum(revenue) as lifetime_revenue,

    from orders
    group by store_id

)

select
    stores.store_id,
    stores.store_name,
    stores.opened_date,
    stores.tax_rate,
    coalesce(sales.order_count, 0) as order_count,
    coalesce(sales.customer_count, 0) as customer_count,
    coalesce(sales.lifetime_revenue, 0) as lifetime_revenue,

from stores
left join sales using (store_id)
